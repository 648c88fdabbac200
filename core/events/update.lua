-- ARGV: job, cached key, kept (s), message, '1' to tell only if nothing was told yet
-- Returns 1, or 0 when nothing is told: the end was, and nothing may come after it.
if redis.call('EXISTS', 'vf:told:' .. ARGV[1]) == 1 then return 0 end
if ARGV[5] == '1' and redis.call('EXISTS', ARGV[2]) == 1 then return 0 end
redis.call('SET', ARGV[2], ARGV[4], 'EX', ARGV[3])
redis.call('PUBLISH', 'events_all', ARGV[4])
return 1
