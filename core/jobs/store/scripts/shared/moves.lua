-- Moves that several scripts make: back into the queue, to the end, out of the store.

local function lane_of(id) return get(id, 'volume') .. ':' .. get(id, 'lane') end

local function free_slot(id)
  redis.call('ZREM', P .. 'slots:' .. lane_of(id), id)
  redis.call('SREM', P .. 'on:' .. (get(id, 'node') or ''), id)
end

-- Put a job back into its queue: it keeps its place in its locks, and loses slot and run.
local function requeue(id, at, rings)
  free_slot(id)
  redis.call('HSET', jobkey(id), 'run', '')
  redis.call('ZREM', P .. 'due', id)
  set_state(id, 'queued')
  local job = place(id)
  touch(id, at)
  admit(job.lane, at, rings)
end

-- What only a live job needs; its queues, locks and keys are left when it ends. Its key has its id, and
-- nothing changes it after its end.
local LIVE_FIELDS = { 'locks', 'title', 'natural', 'hash', 'turn', 'ring_again', 'admitted', 'parked',
  'process', 'share', 'final', 'id', 'updated_at' }
-- What is left out of the record of an ended job when it is empty or '0'.
local SPARSE_FIELDS = { 'run', 'pause', 'cancel', 'reason', 'result', 'error', 'retry_of', 'label', 'requester', 'losses',
  'rung' }

-- Whether the log of an ended job says no more than its record: one run took it and ended it. Readers then
-- write these lines themselves (core/jobs/store/lists.py).
local function is_plain(id, lines)
  local v = redis.call('HMGET', jobkey(id), 'created_at', 'started_at', 'ended_at', 'state', 'node')
  return v[2] and #lines == 3 and lines[1] == log_line('submitted', v[1], 0)
    and lines[2] == log_line('claimed', v[2], 1, v[5]) and lines[3] == log_line(v[4], v[3], 1, v[5])
end

-- Make the record of an ended job small: most records in a store are of ended jobs.
local function pack(id)
  local key, vfolders = jobkey(id), table.concat(vfolders_of(id), ' ')
  local gone, values = { unpack(LIVE_FIELDS) }, redis.call('HMGET', key, unpack(SPARSE_FIELDS))
  for number, field in ipairs(SPARSE_FIELDS) do
    if values[number] == '' or values[number] == '0' then table.insert(gone, field) end
  end
  redis.call('HDEL', key, unpack(gone))
  if vfolders ~= '' then redis.call('HSET', key, 'vfolders', vfolders) end
  local lines = redis.call('LRANGE', P .. 'log:' .. id, 0, -1)
  if not is_plain(id, lines) then
    local text = '[' .. table.concat(lines, ',') .. ']'
    if #text > PACKED_LOG_BYTES then return end
    redis.call('HSET', key, 'log', text)
  end
  redis.call('DEL', P .. 'log:' .. id)
end

-- End a job: its slot and its locks go to the jobs that wait for them.
local function settle(id, state, at, rings)
  set_state(id, state)
  free_slot(id)
  local job = facts(id)
  leave_queues(job)
  redis.call('HSET', jobkey(id), 'run', '', 'admitted', '0', 'ended_at', at)
  redis.call('ZREM', P .. 'due', id)
  redis.call('ZREM', P .. 'deadlines', id)
  redis.call('ZADD', P .. 'ended:' .. keeping(state), at, id)
  redis.call('ZADD', P .. 'outbox', redis.call('INCR', P .. 'outbox:seq'), id)
  local natural = get(id, 'natural')
  if natural ~= '' and redis.call('GET', P .. 'natural:' .. natural) == id then
    redis.call('DEL', P .. 'natural:' .. natural)
  end
  touch(id, at)
  local lanes = { [job.lane] = true }
  leave_locks(job, at, lanes)
  pack(id)
  admit_all(lanes, at, rings)
end

local function holds(id, run)
  local state = get(id, 'state')
  return (state == 'running' or state == 'cancelling') and get(id, 'run') == run
end

-- A run died without a report: its job goes back to the queue, or fails as poison.
local function lose(id, why, max_losses, at, rings)
  local losses = redis.call('HINCRBY', jobkey(id), 'losses', 1)
  log(id, at, 'lost', why)
  if losses <= max_losses then
    requeue(id, at, rings)
    return true
  end
  redis.call('HSET', jobkey(id), 'error', cjson.encode({
    error_code = 'bgtask_execute_internal-error', code = 'poison', retriable = false,
    title = 'Given up',
    detail = 'The job was given up after its run died ' .. losses .. ' times. The last time: ' .. why .. '.' }))
  settle(id, 'failed', at, rings)
  return false
end

-- Remove everything of an ended job. Only its idempotency key remains, which expires soon.
local function forget(id)
  for _, name in ipairs(indexes_of(id)) do redis.call('ZREM', P .. 'ix:' .. name, id) end
  local state = get(id, 'state')
  redis.call('ZREM', P .. 'ix:state:' .. state, id)
  redis.call('ZREM', P .. 'ended:' .. keeping(state), id)
  redis.call('DEL', jobkey(id), P .. 'log:' .. id)
end

-- The answer of a move: its outcome, '1' when `proceed` must continue it, more values, the doorbells.
local function answer(outcome, rings, ...)
  local found = { outcome, unfinished and '1' or '0', ... }
  for _, value in ipairs(rings or {}) do table.insert(found, value) end
  return found
end
