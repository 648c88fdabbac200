-- ARGV: volume, fast slots, bulk slots
-- Returns {'ok', rings…}
local volume, rings, at = ARGV[1], { 'ok' }, now()
redis.call('HSET', P .. 'limits', volume .. ':fast', ARGV[2], volume .. ':bulk', ARGV[3])
admit(volume .. ':fast', at, rings)
admit(volume .. ':bulk', at, rings)
return rings
