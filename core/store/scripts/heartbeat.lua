-- ARGV: id, run, lease (ms), progress (JSON or ''), final ('1' when it cannot be cancelled any more)
-- Returns {'ok', cancel, pause, bytes per second or ''} or {'lost'}: this run's share of the volume's,
-- or the job's own limit where that is less
local id = ARGV[1]
if not holds(id, ARGV[2]) then return { 'lost' } end
local at = now()
redis.call('ZADD', P .. 'due', at + tonumber(ARGV[3]), id)
if ARGV[4] ~= '' then redis.call('HSET', jobkey(id), 'progress', ARGV[4]) end
if ARGV[5] == '1' then redis.call('HSET', jobkey(id), 'final', '1') end
local deadline = tonumber(get(id, 'deadline_at') or '0')
if deadline > 0 and at > deadline and get(id, 'cancel') ~= '1' and get(id, 'final') ~= '1' then
  redis.call('HSET', jobkey(id), 'cancel', '1', 'reason', 'deadline passed')
  set_state(id, 'cancelling')
  log(id, at, 'deadline', 'the deadline of the job passed')
end
touch(id, at)
local volume = get(id, 'volume')
local pause = get(id, 'pause') == '1' or redis.call('SISMEMBER', P .. 'paused', volume) == 1
local budget = redis.call('HGET', P .. 'bandwidth', volume)
if budget then
  local slots = P .. 'slots:' .. volume
  local runs = redis.call('ZCARD', slots .. ':fast') + redis.call('ZCARD', slots .. ':bulk')
  budget = string.format('%d', math.max(1, math.floor(budget / math.max(1, runs))))
end
local own = get(id, 'bandwidth')
if own and own ~= '' and (not budget or tonumber(own) < tonumber(budget)) then budget = own end
return { 'ok', get(id, 'cancel'), pause and '1' or '0', budget or '' }
