-- The locks of vfolders. A job enters all its locks at once, with one turn; a smaller turn goes first.
-- A job may hold a lock when no older job needs the same vfolder in a mode that conflicts. Only older
-- jobs count, so a job that may hold its lock can do so until it ends.

-- The jobs that this script may still move; the first that is left over sets `unfinished`.
local budget, unfinished = BATCH, false

local function lock_key(vfolder, mode) return P .. 'lock:' .. vfolder .. ':' .. mode end

local function parked_key(vfolder, mode) return P .. 'parked:' .. vfolder .. ':' .. mode end

-- What the queues need of a job, in one read.
local function facts(id)
  local v = redis.call('HMGET', jobkey(id),
    'volume', 'lane', 'priority', 'scope', 'turn', 'locks', 'parked', 'pause')
  return { id = id, lane = v[1] .. ':' .. v[2], priority = v[3], scope = v[4], turn = tonumber(v[5]),
    locks = cjson.decode(v[6]), parked = tonumber(v[7] or nil), pause = v[8] == '1' }
end

local function enter_locks(job)
  for _, lock in ipairs(job.locks) do
    redis.call('ZADD', lock_key(lock[1], lock[2]), job.turn, job.id)
  end
end

-- Whether an older job needs the vfolder in a mode that conflicts. Costs one look per such mode.
local function is_blocked(vfolder, mode, turn)
  for _, other in ipairs(CONFLICTS[mode]) do
    local oldest = redis.call('ZRANGE', lock_key(vfolder, other), 0, 0, 'WITHSCORES')
    if oldest[1] and tonumber(oldest[2]) < turn then return true end
  end
  return false
end

-- Park a job at the first of its locks that it may not hold; false when it may hold all of them.
local function park(job)
  for number, lock in ipairs(job.locks) do
    if is_blocked(lock[1], lock[2], job.turn) then
      redis.call('ZADD', parked_key(lock[1], lock[2]), job.turn, job.id)
      redis.call('HINCRBY', P .. 'parked-lanes:' .. lock[1], job.lane, 1)
      redis.call('HSET', jobkey(job.id), 'parked', number)
      return true
    end
  end
  return false
end

-- Lower a counter in a hash; a field that comes to 0 is removed.
local function count_down(key, field)
  if redis.call('HINCRBY', key, field, -1) == 0 then redis.call('HDEL', key, field) end
end

local function leave_park(job)
  local lock = job.locks[job.parked]
  redis.call('ZREM', parked_key(lock[1], lock[2]), job.id)
  count_down(P .. 'parked-lanes:' .. lock[1], job.lane)
  redis.call('HDEL', jobkey(job.id), 'parked')
end

-- The oldest parked job that nothing blocks any more. In each mode the first is the first to be free.
local function next_woken(vfolder)
  local woken, turn
  for _, mode in ipairs(MODES) do
    local oldest = redis.call('ZRANGE', parked_key(vfolder, mode), 0, 0, 'WITHSCORES')
    local its_turn = tonumber(oldest[2] or nil)
    if its_turn and (not turn or its_turn < turn) and not is_blocked(vfolder, mode, its_turn) then
      woken, turn = oldest[1], its_turn
    end
  end
  return woken
end

-- Keep the rest of a wake for the next script. Until it is done, no lane of a parked job admits any:
-- the jobs that are not woken yet may have to go first.
local function hold(vfolder, at)
  redis.call('ZADD', P .. 'wakes', 'NX', at, vfolder)
  for _, lane in ipairs(redis.call('HKEYS', P .. 'parked-lanes:' .. vfolder)) do
    redis.call('SADD', P .. 'held:' .. lane, vfolder)
    redis.call('SADD', P .. 'holding:' .. vfolder, lane)
  end
  unfinished = true
end

local function end_hold(vfolder, lanes)
  if redis.call('ZREM', P .. 'wakes', vfolder) == 0 then return end
  for _, lane in ipairs(redis.call('SMEMBERS', P .. 'holding:' .. vfolder)) do
    redis.call('SREM', P .. 'held:' .. lane, vfolder)
    lanes[lane] = true
  end
  redis.call('DEL', P .. 'holding:' .. vfolder)
end
