-- ARGV: id, run, state, result (JSON or ''), error (JSON or ''), progress (JSON or ''), these and the request
-- packed (core/jobs/packing.py) or '', the vfolders that they are packed with
-- Returns {'ok', more, rings…}, {'ended'} when this same run has ended the job before, {'lost'}, or
-- {'refused'}: the state is not an end, or is cancelled without a cancel request
-- So much of the id of a run (random) tells whether it was the one that ended a job.
local MARK_CHARACTERS = 16
local id, run = ARGV[1], ARGV[2]
local settled = get(id, 'settled_by')
if settled and settled == run:sub(1, #settled) then return answer('ended') end
if not holds(id, run) then return answer('lost') end
if not ended(ARGV[3]) or (ARGV[3] == 'cancelled' and get(id, 'state') ~= 'cancelling') then
  return answer('refused')
end
local at = now()
redis.call('HSET', jobkey(id), 'result', ARGV[4], 'error', ARGV[5], 'settled_by', run:sub(1, MARK_CHARACTERS))
if get(id, 'reason') ~= 'deadline passed' then redis.call('HSET', jobkey(id), 'reason', '') end
if ARGV[6] ~= '' then redis.call('HSET', jobkey(id), 'progress', ARGV[6]) end
if (ARGV[7] or '') ~= '' then
  redis.call('HDEL', jobkey(id), 'request', 'result', 'error', 'progress')
  redis.call('HSET', jobkey(id), 'packed', ARGV[7], 'vfolders', ARGV[8])
end
log(id, at, ARGV[3], '')
local rings = {}
settle(id, ARGV[3], at, rings)
return answer('ok', rings)
