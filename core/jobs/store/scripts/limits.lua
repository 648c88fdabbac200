-- ARGV: volume, fast slots, bulk slots
-- Returns {'ok', more, rings…}
local volume, rings, at = ARGV[1], {}, now()
redis.call('HSET', P .. 'limits', volume .. ':fast', ARGV[2], volume .. ':bulk', ARGV[3])
admit(volume .. ':fast', at, rings)
admit(volume .. ':bulk', at, rings)
return answer('ok', rings)
