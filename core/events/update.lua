-- ARGV: job, cached key, kept (s), message, '1' to publish only if nothing was published before
-- Returns 1, or 0 when nothing is published: the end was before, and nothing may follow it.
if redis.call('EXISTS', 'vf:told:' .. ARGV[1]) == 1 then return 0 end
if ARGV[5] == '1' and redis.call('EXISTS', ARGV[2]) == 1 then return 0 end
redis.call('SET', ARGV[2], ARGV[4], 'EX', ARGV[3])
redis.call('PUBLISH', 'events_all', ARGV[4])
return 1
