-- ARGV: mark, time to keep it (s), stream length, name, source, args, payload
-- Returns 1, or 0 when an event was published under this mark before.
if not redis.call('SET', 'vf:told:' .. ARGV[1], '1', 'NX', 'EX', ARGV[2]) then return 0 end
redis.call('XADD', 'events', 'MAXLEN', '~', ARGV[3], '*', 'name', ARGV[4], 'source', ARGV[5],
  'args', ARGV[6], 'payload', ARGV[7])
return 1
