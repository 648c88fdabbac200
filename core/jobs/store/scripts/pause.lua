-- ARGV: id, '1' to pause or '0' to resume
-- Returns {'ok', rings…}, {'gone'} or {'ended'}
local id, wanted = ARGV[1], ARGV[2]
local state = get(id, 'state')
if not state then return { 'gone' } end
if ended(state) then return { 'ended' } end
local rings = { 'ok' }
if get(id, 'pause') == wanted then return rings end
local at = now()
redis.call('HSET', jobkey(id), 'pause', wanted)
log(id, at, wanted == '1' and 'paused' or 'resumed', '')
if state == 'queued' then
  local lane = lane_of(id)
  if wanted == '1' then
    free_slot(id)
    redis.call('ZREM', P .. 'due', id)
    -- One that never ran must not keep others from the vfolder; one that did keeps what it holds.
    if get(id, 'attempt') == '0' then leave_locks(id) end
  elseif get(id, 'attempt') == '0' then
    leave_ready(id)
    redis.call('HSET', jobkey(id), 'turn', redis.call('INCR', P .. 'seq'))
    enter_locks(id)
  end
  place(id)
  touch(id, at)
  local waiters = redis.call('SMEMBERS', P .. 'waiters:' .. id)
  for _, waiter in ipairs(waiters) do
    if wanted == '1' and get(waiter, 'state') == 'queued' and get(waiter, 'waits_for') == id then
      redis.call('SREM', P .. 'waiters:' .. id, waiter)
      place(waiter)
      touch(waiter, at)
      admit(lane_of(waiter), at, rings)
    end
  end
  admit(lane, at, rings)
else
  touch(id, at)
end
return rings
