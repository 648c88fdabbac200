-- ARGV: id, run
-- Notes that the requester of a job was decided, so that a later run does not decide it again.
-- Returns {'ok'}, or {'lost'}: another run holds the job
local id = ARGV[1]
if not holds(id, ARGV[2]) then return { 'lost' } end
redis.call('HSET', jobkey(id), 'permitted', '1')
return { 'ok' }
