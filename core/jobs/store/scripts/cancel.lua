-- ARGV: id, requester
-- Returns {'ok', more, rings…}, {'gone'}, {'ended'} or {'final'}
local id = ARGV[1]
local state = get(id, 'state')
if not state then return answer('gone') end
if state == 'cancelled' then return answer('ok') end
if ended(state) then return answer('ended') end
if get(id, 'final') == '1' then return answer('final') end
if get(id, 'cancel') == '1' then return answer('ok') end
local at = now()
redis.call('HSET', jobkey(id), 'cancel', '1', 'pause', '0', 'reason', 'cancel requested')
log(id, at, 'cancel requested', ARGV[2])
local rings = {}
if state == 'queued' and get(id, 'attempt') == '0' then
  settle(id, 'cancelled', at, rings)
elseif state == 'queued' then
  -- An earlier run left data in staging: one more run cleans up.
  if get(id, 'admitted') ~= '1' then place(id) end
  touch(id, at)
  admit(lane_of(id), at, rings)
else
  set_state(id, 'cancelling')
  touch(id, at)
end
return answer('ok', rings)
