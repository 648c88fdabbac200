-- ARGV: max losses, most jobs to look at
-- Returns {'ok', more, looked, lost, poisoned, rung, rings…}: the jobs it looked at (the larger of two
-- numbers: late and due), what became of them, and the doorbells to ring
local at = now()
local rings = {}
local lost, poisoned, rung = 0, 0, 0
local late = redis.call('ZRANGEBYSCORE', P .. 'deadlines', '-inf', at, 'LIMIT', 0, ARGV[2])
for _, id in ipairs(late) do
  redis.call('ZREM', P .. 'deadlines', id)
  if get(id, 'state') == 'queued' and get(id, 'attempt') == '0' then
    redis.call('HSET', jobkey(id), 'error', cjson.encode({
      error_code = 'bgtask_execute_canceled', code = 'deadline', retriable = true,
      title = 'Deadline passed',
      detail = 'The deadline of the job passed before it could start.' }))
    settle(id, 'failed', at, rings)
  end
end
local due = redis.call('ZRANGEBYSCORE', P .. 'due', '-inf', at, 'LIMIT', 0, ARGV[2])
for _, id in ipairs(due) do
  local state = get(id, 'state')
  if state == 'running' or state == 'cancelling' then
    if lose(id, 'the run stopped renewing its lease', tonumber(ARGV[1]), at, rings) then
      lost = lost + 1
    else
      poisoned = poisoned + 1
    end
  elseif state == 'queued' and get(id, 'admitted') == '1' then
    -- Each pause is longer than the last: doorbells must not pile up at a busy worker.
    local times = redis.call('HINCRBY', jobkey(id), 'rung', 1)
    local pause = tonumber(get(id, 'ring_again')) * math.min(2 ^ times, 16)
    redis.call('ZADD', P .. 'due', at + pause, id)
    rung = rung + 1
    ring(id, rings)
  else
    redis.call('ZREM', P .. 'due', id)
  end
end
return answer('ok', rings, math.max(#late, #due), lost, poisoned, rung)
