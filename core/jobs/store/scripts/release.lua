-- ARGV: id, run, reason (drained, paused …), progress (JSON or '')
-- Returns {'ok', more, rings…} or {'lost'}
local id = ARGV[1]
if not holds(id, ARGV[2]) then return answer('lost') end
local at = now()
if ARGV[4] ~= '' then redis.call('HSET', jobkey(id), 'progress', ARGV[4]) end
log(id, at, 'released', ARGV[3])
local rings = {}
requeue(id, at, rings)
return answer('ok', rings)
