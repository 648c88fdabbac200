-- Continue what an earlier script left: first the oldest wake, else the oldest lane with free slots.
-- Returns {'ok', more, rings…}
local rings, lanes, at = {}, {}, now()
local vfolder = redis.call('ZRANGE', P .. 'wakes', 0, 0)[1]
if vfolder then
  wake(vfolder, at, lanes)
else
  local lane = redis.call('ZPOPMIN', P .. 'admits')[1]
  if lane then lanes[lane] = true end
end
admit_all(lanes, at, rings)
unfinished = redis.call('EXISTS', P .. 'wakes', P .. 'admits') > 0
return answer('ok', rings)
