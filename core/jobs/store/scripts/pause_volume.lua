-- ARGV: volume, '1' to pause or '0' to resume
-- Returns {'ok', more, rings…}
local volume, rings, at = ARGV[1], {}, now()
if ARGV[2] == '1' then
  redis.call('SADD', P .. 'paused', volume)
else
  redis.call('SREM', P .. 'paused', volume)
  admit(volume .. ':fast', at, rings)
  admit(volume .. ':bulk', at, rings)
end
return answer('ok', rings)
