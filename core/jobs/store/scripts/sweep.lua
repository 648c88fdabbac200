-- ARGV: keep succeeded and cancelled (ms), keep failed and partial (ms), most jobs to forget of each
-- Returns the number of removed jobs
local at, gone = now(), 0
for number, kept in ipairs({ 'short', 'long' }) do
  local key = P .. 'ended:' .. kept
  local old = redis.call('ZRANGEBYSCORE', key, '-inf', at - tonumber(ARGV[number]), 'LIMIT', 0, ARGV[3])
  for _, id in ipairs(old) do
    local untold = redis.call('ZSCORE', P .. 'outbox', id)
    if not untold and get(id, 'state') then
      forget(id)
      gone = gone + 1
    end
    if not untold then redis.call('ZREM', key, id) end
  end
end
return gone
