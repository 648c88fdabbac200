-- ARGV: id, '1' to pause or '0' to resume
-- Returns {'ok', more, rings…}, {'gone'} or {'ended'}
local id, pause = ARGV[1], ARGV[2]
local state = get(id, 'state')
if not state then return answer('gone') end
if ended(state) then return answer('ended') end
if get(id, 'pause') == pause then return answer('ok') end
local rings, lanes, at = {}, {}, now()
redis.call('HSET', jobkey(id), 'pause', pause)
log(id, at, pause == '1' and 'paused' or 'resumed', '')
if state == 'queued' then
  local never_ran = get(id, 'attempt') == '0'
  if pause == '1' then
    free_slot(id)
    redis.call('ZREM', P .. 'due', id)
  elseif never_ran then
    redis.call('HSET', jobkey(id), 'turn', redis.call('INCR', P .. 'seq'))
    enter_locks(facts(id))
  end
  local job = place(id)
  touch(id, at)
  lanes[job.lane] = true
  -- A job that never ran must not block others from the vfolder; one that ran keeps its locks.
  if pause == '1' and never_ran then leave_locks(job, at, lanes) end
  admit_all(lanes, at, rings)
else
  touch(id, at)
end
return answer('ok', rings)
