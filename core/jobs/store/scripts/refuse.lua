-- ARGV: id, error (JSON)
-- Returns {'ok', more, rings…} or {'left'}: the job has begun or ended
local id = ARGV[1]
if get(id, 'state') ~= 'queued' or get(id, 'attempt') ~= '0' then return answer('left') end
local at = now()
redis.call('HSET', jobkey(id), 'error', ARGV[2], 'reason', '')
log(id, at, 'failed', 'refused before it began')
local rings = {}
settle(id, 'failed', at, rings)
return answer('ok', rings)
