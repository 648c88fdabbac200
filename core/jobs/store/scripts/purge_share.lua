-- KEYS: purging:<volume>, purge-rates
-- ARGV: id of a job that purges, volume, lease (ms)
-- Returns the job's share of the volume's purge rate (entries per second), or '' without a rate
local purging = KEYS[1]
redis.call('SADD', purging, ARGV[1])
redis.call('PEXPIRE', purging, ARGV[3])
local sharers = 1
for _, id in ipairs(redis.call('SMEMBERS', purging)) do
  local state = redis.call('HGET', P .. 'job:' .. id, 'state')
  if state == 'running' or state == 'cancelling' then
    if id ~= ARGV[1] then sharers = sharers + 1 end
  else
    redis.call('SREM', purging, id)
  end
end
local rate = redis.call('HGET', KEYS[2], ARGV[2])
return rate and string.format('%.6f', rate / sharers) or ''
