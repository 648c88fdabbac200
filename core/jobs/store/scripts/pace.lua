-- ARGV: id, bytes per second or ''
-- Returns {'ok'} or {why not}: gone, ended
local id = ARGV[1]
local state = get(id, 'state')
if not state then return { 'gone' } end
if ended(state) then return { 'ended' } end
redis.call('HSET', jobkey(id), 'bandwidth', ARGV[2])
local at = now()
log(id, at, 'bandwidth', ARGV[2])
touch(id, at)
return { 'ok' }
