-- ARGV: id, '1' to pause or '0' to resume
-- Returns {'ok', rings…}, {'gone'} or {'ended'}
local id, pause = ARGV[1], ARGV[2]
local state = get(id, 'state')
if not state then return { 'gone' } end
if ended(state) then return { 'ended' } end
local rings = { 'ok' }
if get(id, 'pause') == pause then return rings end
local at = now()
redis.call('HSET', jobkey(id), 'pause', pause)
log(id, at, pause == '1' and 'paused' or 'resumed', '')
if state == 'queued' then
  local lane = lane_of(id)
  if pause == '1' then
    free_slot(id)
    redis.call('ZREM', P .. 'due', id)
    -- A job that never ran must not block others from the vfolder; one that ran keeps its locks.
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
    if pause == '1' and get(waiter, 'state') == 'queued' and get(waiter, 'waits_for') == id then
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
