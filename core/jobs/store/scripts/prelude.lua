-- The shared start of every script: key names, the clock, the lock queues, the ready queues.
-- Layout (all below vf:):
--   job:<id>            hash    the record; `bandwidth` is the job's own limit (bytes per second),
--                               `share` the limit its run began with
--   log:<id>            list    its history: JSON lines, at most LOG_MAX
--   ix:<index>          zset    ids by sequence number, for lists
--   due                 zset    ids by the time (ms) when the reaper looks at them
--   lockq:<vfolder>     zset    '<id>|x' or '<id>|s' by sequence number: the order of its lock
--   waiters:<id>        set     jobs that wait for this one to end
--   ready:<v>:<l>:<p>:<scope> zset, ring:<v>:<l>:<p> list   slots go to the scopes in turn
--   slots:<v>:<l>       zset    ids that hold a slot
--   limits              hash    '<v>:<l>' -> slots
--   on:<node>           set     the jobs that a node runs
--   paused              set     paused volumes
--   bandwidth           hash    volume -> bytes per second, shared by its jobs and streams
--   streams:<v>         hash    process of a door -> '<streams> <time (ms)>', expires soon
--   ended:<short|long>  zset    ids by the time of their end; kept for the short or the long time
--   deadlines           zset    ids by their deadline (ms)
--   outbox              zset    ended ids whose end is not published yet, in the order of their ends
--   live                channel '<id> <version> <state>' at every change
local P = 'vf:'
local LOG_MAX = 200
-- A process of a door that reported nothing for this long has no streams.
local STREAMS_SILENT_MS = 5000

local function now()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

local function jobkey(id) return P .. 'job:' .. id end

local function get(id, field)
  local value = redis.call('HGET', jobkey(id), field)
  if value == false then return nil end
  return value
end

local function touch(id, at)
  local version = redis.call('HINCRBY', jobkey(id), 'version', 1)
  redis.call('HSET', jobkey(id), 'updated_at', at)
  redis.call('PUBLISH', P .. 'live', id .. ' ' .. version .. ' ' .. get(id, 'state'))
end

local function log(id, at, kind, text)
  redis.call('RPUSH', P .. 'log:' .. id, cjson.encode({
    kind = kind, at = at, attempt = tonumber(get(id, 'attempt')), node = get(id, 'node') or '', text = text or '' }))
  redis.call('LTRIM', P .. 'log:' .. id, -LOG_MAX, -1)
end

local function index(name, seq, id) redis.call('ZADD', P .. 'ix:' .. name, seq, id) end

-- Every index that lists the job, except that of its state.
local function indexes_of(id)
  local names = { 'all', 'verb:' .. get(id, 'verb'), 'volume:' .. get(id, 'volume') }
  for _, field in ipairs({ 'scope', 'requester', 'label' }) do
    local value = get(id, field)
    if value and value ~= '' then table.insert(names, field .. ':' .. value) end
  end
  for _, lock in ipairs(cjson.decode(get(id, 'locks'))) do
    table.insert(names, 'vfolder:' .. lock[1]:match('^[^/]*/(.*)$'))
  end
  return names
end

local function set_state(id, new)
  local old = get(id, 'state')
  if old == new then return end
  redis.call('ZREM', P .. 'ix:state:' .. old, id)
  index('state:' .. new, get(id, 'seq'), id)
  redis.call('HSET', jobkey(id), 'state', new)
end

local function keeping(state)
  return (state == 'failed' or state == 'partial') and 'long' or 'short'
end

local function ended(state)
  return state == 'succeeded' or state == 'partial' or state == 'failed' or state == 'cancelled'
end

-- Locks -------------------------------------------------------------------------------------------
local function locks_of(id) return cjson.decode(get(id, 'locks')) end

local function enter_locks(id)
  for _, lock in ipairs(locks_of(id)) do
    redis.call('ZADD', P .. 'lockq:' .. lock[1], get(id, 'turn'), id .. '|' .. lock[2]:sub(1, 1))
  end
end

local function leave_locks(id)
  for _, lock in ipairs(locks_of(id)) do
    redis.call('ZREM', P .. 'lockq:' .. lock[1], id .. '|' .. lock[2]:sub(1, 1))
  end
end

-- The oldest job before this one whose lock of the same vfolder conflicts with this one's.
local function blocker(id)
  local seq = get(id, 'turn')
  for _, lock in ipairs(locks_of(id)) do
    local older = redis.call('ZRANGEBYSCORE', P .. 'lockq:' .. lock[1], '-inf', '(' .. seq)
    for _, member in ipairs(older) do
      if lock[2] == 'exclusive' or member:sub(-1) == 'e' then
        return member:sub(1, -3), member:sub(-1) == 'e' and 'exclusive' or 'shared'
      end
    end
  end
  return nil
end

-- Bandwidth: each running job and each stream of a door has one share of the volume's budget.
local function runs_of(volume)
  local slots = P .. 'slots:' .. volume
  return redis.call('ZCARD', slots .. ':fast') + redis.call('ZCARD', slots .. ':bulk')
end

local function streams_of(volume, at)
  local streams = 0
  for _, report in ipairs(redis.call('HVALS', P .. 'streams:' .. volume)) do
    local count, moment = report:match('^(%d+) (%d+)$')
    if at - tonumber(moment) < STREAMS_SILENT_MS then streams = streams + tonumber(count) end
  end
  return streams
end

-- Ready queues ------------------------------------------------------------------------------------
local function lane_of(id) return get(id, 'volume') .. ':' .. get(id, 'lane') end

local function ready_key(id)
  return P .. 'ready:' .. lane_of(id) .. ':' .. get(id, 'priority') .. ':' .. get(id, 'scope')
end

local function make_ready(id)
  local ring = P .. 'ring:' .. lane_of(id) .. ':' .. get(id, 'priority')
  if redis.call('ZCARD', ready_key(id)) == 0 then
    redis.call('RPUSH', ring, get(id, 'scope'))
  end
  redis.call('ZADD', ready_key(id), get(id, 'turn'), id)
end

local function leave_ready(id)
  local key = ready_key(id)
  if redis.call('ZREM', key, id) == 1 and redis.call('ZCARD', key) == 0 then
    redis.call('LREM', P .. 'ring:' .. lane_of(id) .. ':' .. get(id, 'priority'), 0, get(id, 'scope'))
  end
end

-- Put a queued job into its place: paused, waiting for another job's lock, or ready.
local function place(id)
  leave_ready(id)
  redis.call('HSET', jobkey(id), 'admitted', '0', 'waits_for', '')
  if get(id, 'pause') == '1' then
    redis.call('HSET', jobkey(id), 'reason', 'paused')
    return
  end
  local holder, mode = blocker(id)
  if holder then
    redis.call('SADD', P .. 'waiters:' .. holder, id)
    redis.call('HSET', jobkey(id), 'waits_for', holder,
      'reason', 'waiting for the ' .. mode .. ' lock of job ' .. holder)
    return
  end
  redis.call('HSET', jobkey(id), 'reason', 'waiting for a slot')
  make_ready(id)
end

local function next_ready(lane)
  for priority = 0, 9 do
    local ring = P .. 'ring:' .. lane .. ':' .. priority
    local scope = redis.call('LPOP', ring)
    if scope then
      local key = P .. 'ready:' .. lane .. ':' .. priority .. ':' .. scope
      local popped = redis.call('ZPOPMIN', key)
      if redis.call('ZCARD', key) > 0 then redis.call('RPUSH', ring, scope) end
      return popped[1]
    end
  end
  return nil
end

local function ring(id, rings)
  table.insert(rings, id)
  for _, value in ipairs(redis.call('HMGET', jobkey(id), 'volume', 'lane', 'priority', 'verb', 'title')) do
    table.insert(rings, value)
  end
end

-- Give the free slots of a lane to ready jobs. The caller rings for every job added to `rings`.
local function admit(lane, at, rings)
  local volume = lane:match('^(.*):[^:]*$')
  if redis.call('SISMEMBER', P .. 'paused', volume) == 1 then return end
  local limit = tonumber(redis.call('HGET', P .. 'limits', lane) or '1')
  while redis.call('ZCARD', P .. 'slots:' .. lane) < limit do
    local id = next_ready(lane)
    if not id then return end
    redis.call('ZADD', P .. 'slots:' .. lane, at, id)
    redis.call('HSET', jobkey(id), 'admitted', '1', 'rung', '0', 'reason', 'waiting for a worker')
    redis.call('ZADD', P .. 'due', at + tonumber(get(id, 'ring_again')), id)
    touch(id, at)
    ring(id, rings)
  end
end

local function free_slot(id)
  redis.call('ZREM', P .. 'slots:' .. lane_of(id), id)
  redis.call('SREM', P .. 'on:' .. (get(id, 'node') or ''), id)
end

-- Put a job back into its queue: it keeps its place in the lock queues, and loses slot and run.
local function requeue(id, at, rings)
  free_slot(id)
  redis.call('HSET', jobkey(id), 'run', '')
  redis.call('ZREM', P .. 'due', id)
  set_state(id, 'queued')
  place(id)
  touch(id, at)
  admit(lane_of(id), at, rings)
end

-- End a job: its slot and its locks go to the jobs that wait for them.
local function settle(id, state, at, rings)
  set_state(id, state)
  free_slot(id)
  leave_ready(id)
  leave_locks(id)
  redis.call('HSET', jobkey(id), 'run', '', 'admitted', '0', 'waits_for', '', 'ended_at', at)
  redis.call('ZREM', P .. 'due', id)
  redis.call('ZREM', P .. 'deadlines', id)
  redis.call('ZADD', P .. 'ended:' .. keeping(state), at, id)
  redis.call('ZADD', P .. 'outbox', redis.call('INCR', P .. 'outbox:seq'), id)
  local natural = get(id, 'natural')
  if natural ~= '' and redis.call('GET', P .. 'natural:' .. natural) == id then
    redis.call('DEL', P .. 'natural:' .. natural)
  end
  touch(id, at)
  local lanes = { [lane_of(id)] = true }
  local waiters = redis.call('SMEMBERS', P .. 'waiters:' .. id)
  redis.call('DEL', P .. 'waiters:' .. id)
  for _, waiter in ipairs(waiters) do
    if get(waiter, 'state') == 'queued' and get(waiter, 'waits_for') == id then
      place(waiter)
      touch(waiter, at)
      lanes[lane_of(waiter)] = true
    end
  end
  for lane in pairs(lanes) do admit(lane, at, rings) end
end

-- The limit of a run (bytes per second, or ''): its share of the volume's budget, or the job's own
-- limit where that is lower.
local function share(id, volume)
  local budget = redis.call('HGET', P .. 'bandwidth', volume)
  if budget then
    local sharers = math.max(1, runs_of(volume) + streams_of(volume, now()))
    budget = string.format('%d', math.max(1, math.floor(budget / sharers)))
  end
  local own = get(id, 'bandwidth')
  if own and own ~= '' and (not budget or tonumber(own) < tonumber(budget)) then budget = own end
  return budget or ''
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
    detail = 'The job was given up after its run died ' .. losses .. ' times.' }))
  settle(id, 'failed', at, rings)
  return false
end

-- Remove everything of an ended job. Only its idempotency key remains, which expires soon.
local function forget(id)
  for _, name in ipairs(indexes_of(id)) do redis.call('ZREM', P .. 'ix:' .. name, id) end
  local state = get(id, 'state')
  redis.call('ZREM', P .. 'ix:state:' .. state, id)
  redis.call('ZREM', P .. 'ended:' .. keeping(state), id)
  redis.call('DEL', jobkey(id), P .. 'log:' .. id, P .. 'waiters:' .. id)
end
