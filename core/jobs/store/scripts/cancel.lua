-- ARGV: id, requester
-- Returns {'ok', rings…}, {'gone'}, {'ended'} or {'final'}
local id = ARGV[1]
local state = get(id, 'state')
if not state then return { 'gone' } end
if state == 'cancelled' then return { 'ok' } end
if ended(state) then return { 'ended' } end
if get(id, 'final') == '1' then return { 'final' } end
if get(id, 'cancel') == '1' then return { 'ok' } end
local at = now()
redis.call('HSET', jobkey(id), 'cancel', '1', 'pause', '0', 'reason', 'cancel requested')
log(id, at, 'cancel requested', ARGV[2])
local rings = { 'ok' }
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
return rings
