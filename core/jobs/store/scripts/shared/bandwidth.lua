-- Bandwidth: each running job and each stream of a door has one share of the volume's budget.
local function runs_of(volume)
  local slots = P .. 'slots:' .. volume
  return redis.call('ZCARD', slots .. ':fast') + redis.call('ZCARD', slots .. ':bulk')
end

local function streams_of(volume, at)
  local streams = 0
  for _, report in ipairs(redis.call('HVALS', P .. 'streams:' .. volume)) do
    local count, moment = report:match('^(%d+) (%d+)$')
    if at - tonumber(moment) < STREAMS_SILENT_MS then streams = streams + tonumber(count) end
  end
  return streams
end

-- The limit of a run (bytes per second, or ''): its share of the volume's budget, or the job's own
-- limit where that is lower.
local function share(id, volume)
  local budget = redis.call('HGET', P .. 'bandwidth', volume)
  if budget then
    local sharers = math.max(1, runs_of(volume) + streams_of(volume, now()))
    budget = string.format('%d', math.max(1, math.floor(budget / sharers)))
  end
  local own = get(id, 'bandwidth')
  if own and own ~= '' and (not budget or tonumber(own) < tonumber(budget)) then budget = own end
  return budget or ''
end
