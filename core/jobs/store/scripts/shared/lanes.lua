-- The lanes of volumes: jobs that only wait for a slot, and who gets the next one.

local function ready_key(lane, priority, scope)
  return P .. 'ready:' .. lane .. ':' .. priority .. ':' .. scope
end

local function turns_key(lane, priority) return P .. 'turns:' .. lane .. ':' .. priority end

-- Give a scope the last turn.
local function take_turn(lane, priority, scope)
  local key = turns_key(lane, priority)
  local last = redis.call('ZRANGE', key, -1, -1, 'WITHSCORES')
  redis.call('ZADD', key, tonumber(last[2] or 0) + 1, scope)
end

local function make_ready(job)
  local key = ready_key(job.lane, job.priority, job.scope)
  if redis.call('EXISTS', key) == 0 then take_turn(job.lane, job.priority, job.scope) end
  redis.call('ZADD', key, job.turn, job.id)
  redis.call('HINCRBY', P .. 'waiting:' .. job.lane, job.priority, 1)
end

local function leave_ready(job)
  local key = ready_key(job.lane, job.priority, job.scope)
  if redis.call('ZREM', key, job.id) == 0 then return end
  count_down(P .. 'waiting:' .. job.lane, job.priority)
  if redis.call('EXISTS', key) == 0 then
    redis.call('ZREM', turns_key(job.lane, job.priority), job.scope)
  end
end

local function leave_queues(job)
  if job.parked then leave_park(job) else leave_ready(job) end
end

-- Put a queued job into its place: paused, parked at a lock, or ready. Why it waits is not written
-- here: a reader of the record computes it (core/jobs/store/lists.py).
local function place(id)
  local job = facts(id)
  leave_queues(job)
  redis.call('HSET', jobkey(id), 'admitted', '0', 'reason', job.pause and 'paused' or '')
  if not job.pause and not park(job) then make_ready(job) end
  return job
end

local function first_priority(lane)
  local counts, first = redis.call('HKEYS', P .. 'waiting:' .. lane), nil
  for _, priority in ipairs(counts) do
    if not first or tonumber(priority) < tonumber(first) then first = priority end
  end
  return first
end

-- Take the job whose turn it is: the oldest of the first scope.
local function take_ready(lane, priority)
  local scope = redis.call('ZPOPMIN', turns_key(lane, priority))[1]
  local key = ready_key(lane, priority, scope)
  local id = redis.call('ZPOPMIN', key)[1]
  if redis.call('EXISTS', key) == 1 then take_turn(lane, priority, scope) end
  count_down(P .. 'waiting:' .. lane, priority)
  return id
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
  if redis.call('EXISTS', P .. 'held:' .. lane) == 1 then return end
  local limit = tonumber(redis.call('HGET', P .. 'limits', lane) or '1')
  for _ = redis.call('ZCARD', P .. 'slots:' .. lane) + 1, limit do
    local priority = first_priority(lane)
    if not priority then return end
    if budget == 0 then
      redis.call('ZADD', P .. 'admits', 'NX', at, lane)
      unfinished = true
      return
    end
    budget = budget - 1
    local id = take_ready(lane, priority)
    redis.call('ZADD', P .. 'slots:' .. lane, at, id)
    redis.call('HSET', jobkey(id), 'admitted', '1', 'rung', '0', 'reason', 'waiting for a worker')
    redis.call('ZADD', P .. 'due', at + tonumber(get(id, 'ring_again')), id)
    touch(id, at)
    ring(id, rings)
  end
end

local function admit_all(lanes, at, rings)
  for lane in pairs(lanes) do admit(lane, at, rings) end
end

-- Place the parked jobs of a vfolder that nothing blocks any more, oldest first, and note their lanes.
local function wake(vfolder, at, lanes)
  while true do
    local id = next_woken(vfolder)
    if not id then return end_hold(vfolder, lanes) end
    if budget == 0 then return hold(vfolder, at) end
    budget = budget - 1
    lanes[place(id).lane] = true
    touch(id, at)
  end
end

-- Take a job out of its locks, and wake those that waited for it.
local function leave_locks(job, at, lanes)
  for _, lock in ipairs(job.locks) do redis.call('ZREM', lock_key(lock[1], lock[2]), job.id) end
  for _, lock in ipairs(job.locks) do wake(lock[1], at, lanes) end
end
