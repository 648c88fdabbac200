-- ARGV: id, run, node, lease (ms), process (worker identity and pid)
-- Returns {'ok'} or {why not}: gone, ended, held, waiting, or unproven: the node has just reported that
-- it does not reach the volume. A doorbell may reach the node before it stops to consume the queue.
local id, run = ARGV[1], ARGV[2]
local state = get(id, 'state')
if not state then return { 'gone' } end
if ended(state) then return { 'ended' } end
if holds(id, run) then -- the answer to this run's first claim was lost: its lease begins again
  redis.call('ZADD', P .. 'due', now() + tonumber(ARGV[4]), id)
  return { 'ok' }
end
if state ~= 'queued' then return { 'held' } end
if get(id, 'admitted') ~= '1' then return { 'waiting' } end
if redis.call('SISMEMBER', P .. 'unproven:' .. ARGV[3], get(id, 'volume')) == 1 then return { 'unproven' } end
local at = now()
if redis.call('SISMEMBER', P .. 'paused', get(id, 'volume')) == 1 then
  -- The job got its slot before the volume was paused: put it back, the resume rings again.
  requeue(id, at, {})
  return { 'waiting' }
end
set_state(id, get(id, 'cancel') == '1' and 'cancelling' or 'running')
redis.call('HINCRBY', jobkey(id), 'attempt', 1)
redis.call('HSETNX', jobkey(id), 'started_at', at)
redis.call('HSET', jobkey(id), 'run', run, 'node', ARGV[3], 'process', ARGV[5], 'reason', '')
redis.call('HSET', jobkey(id), 'share', share(id, get(id, 'volume')))
redis.call('SADD', P .. 'on:' .. ARGV[3], id)
redis.call('ZADD', P .. 'due', at + tonumber(ARGV[4]), id)
log(id, at, 'claimed', '')
touch(id, at)
return { 'ok' }
