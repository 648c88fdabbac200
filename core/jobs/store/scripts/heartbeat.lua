-- ARGV: id, run, lease (ms), progress (JSON or ''), final ('1': from now on the job cannot be cancelled)
-- Returns {'ok', cancel, pause, bytes per second or ''} or {'lost'}
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
return { 'ok', get(id, 'cancel'), pause and '1' or '0', share(id, volume) }
