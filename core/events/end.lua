-- ARGV: job, time to keep the mark (s), cached key, time to keep it (s), last message, stream length,
--       then for each stream event: name, source, args, payload
-- Returns 1, or 0 when the end of this job was published before.
if not redis.call('SET', 'vf:told:' .. ARGV[1], '1', 'NX', 'EX', ARGV[2]) then return 0 end
for at = 7, #ARGV, 4 do
  redis.call('XADD', 'events', 'MAXLEN', '~', ARGV[6], '*', 'name', ARGV[at], 'source', ARGV[at + 1],
    'args', ARGV[at + 2], 'payload', ARGV[at + 3])
end
redis.call('SET', ARGV[3], ARGV[5], 'EX', ARGV[4])
redis.call('PUBLISH', 'events_all', ARGV[5])
return 1
