-- ARGV: process of a door, then pairs: a volume and the number of streams the process has of it
-- Returns, for each volume with a budget: volume, bytes per second, jobs, streams of other processes
local process, streams, found, at = ARGV[1], {}, {}, now()
for i = 2, #ARGV, 2 do streams[ARGV[i]] = tonumber(ARGV[i + 1]) end
local budgets = redis.call('HGETALL', P .. 'bandwidth')
for i = 1, #budgets, 2 do
  local volume = budgets[i]
  local key = P .. 'streams:' .. volume
  local mine = streams[volume] or 0
  if mine > 0 then
    redis.call('HSET', key, process, mine .. ' ' .. at)
    redis.call('PEXPIRE', key, STREAMS_SILENT_MS)
  elseif process ~= '' then
    redis.call('HDEL', key, process)
  end
  local limit = math.max(1, math.floor(tonumber(budgets[i + 1])))
  for _, value in ipairs({ volume, limit, runs_of(volume), streams_of(volume, at) - mine }) do
    table.insert(found, value)
  end
end
return found
