-- One step of a migration to this layout; each may be repeated.
-- ARGV: the token of the process that migrates, how long it keeps others away (ms), step, then what the
-- step says
-- Returns '1', or '0' when another process migrates
if redis.call('GET', P .. 'layout:lock') ~= ARGV[1] then return '0' end
redis.call('PEXPIRE', P .. 'layout:lock', ARGV[2])
local step = ARGV[3]
if step == 'turns' then
  -- KEYS: lists of scopes as layout 1 had them
  for _, list in ipairs(KEYS) do
    local key = P .. 'turns:' .. list:sub(#(P .. 'ring:') + 1)
    for turn, scope in ipairs(redis.call('LRANGE', list, 0, -1)) do redis.call('ZADD', key, turn, scope) end
    redis.call('DEL', list)
  end
elseif step == 'locks' then
  -- ARGV: ids of live jobs
  for number = 4, #ARGV do
    local id = ARGV[number]
    local rests = get(id, 'state') == 'queued' and get(id, 'pause') == '1' and get(id, 'attempt') == '0'
    if not rests then enter_locks(facts(id)) end
  end
elseif step == 'queues' then
  -- ARGV: ids of live jobs. A ready job stays where it is: its scope keeps its turn.
  for number = 4, #ARGV do
    local id = ARGV[number]
    redis.call('HDEL', jobkey(id), 'waits_for')
    if get(id, 'state') == 'queued' and get(id, 'admitted') == '0' then
      local job = facts(id)
      if not redis.call('ZSCORE', ready_key(job.lane, job.priority, job.scope), id) then place(id) end
    end
  end
elseif step == 'counts' then
  -- KEYS: sets of scopes, one for each lane and priority
  for _, turns in ipairs(KEYS) do
    local lane, priority = turns:sub(#(P .. 'turns:') + 1):match('^(.*):([^:]*)$')
    local ready = 0
    for _, scope in ipairs(redis.call('ZRANGE', turns, 0, -1)) do
      ready = ready + redis.call('ZCARD', ready_key(lane, priority, scope))
    end
    redis.call('HSET', P .. 'waiting:' .. lane, priority, ready)
  end
elseif step == 'drop' then
  redis.call('UNLINK', unpack(KEYS))
elseif step == 'done' then
  redis.call('SET', P .. 'layout', LAYOUT)
  redis.call('DEL', P .. 'layout:lock')
end
return '1'
