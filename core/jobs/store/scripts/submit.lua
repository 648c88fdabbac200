-- ARGV: id, record (JSON of text fields), idempotency key or '', body hash, key lifetime (s)
-- Returns {outcome, more, id, rings…}: new, same, joined, reused (422), busy (409)
local id, record = ARGV[1], cjson.decode(ARGV[2])
local idem = P .. 'idem:' .. ARGV[3]
local function remember(job)
  if ARGV[3] == '' then return end
  redis.call('HSET', idem, 'id', job, 'hash', ARGV[4])
  redis.call('EXPIRE', idem, ARGV[5])
end
if ARGV[3] ~= '' then
  local known = redis.call('HMGET', idem, 'id', 'hash')
  -- A key is valid only as long as its job: nothing is known of a forgotten job.
  if known[1] and redis.call('EXISTS', jobkey(known[1])) == 1 then
    if known[2] ~= ARGV[4] then return answer('reused', nil, known[1]) end
    return answer('same', nil, known[1])
  end
end
local natural = record['natural']
if natural ~= '' then
  local live = redis.call('GET', P .. 'natural:' .. natural)
  if live and redis.call('EXISTS', jobkey(live)) == 1 then
    if get(live, 'hash') ~= ARGV[4] then return answer('busy', nil, live) end
    remember(live)
    return answer('joined', nil, live)
  end
end
if redis.call('EXISTS', jobkey(id)) == 1 then return answer('same', nil, id) end
local at = now()
local seq = redis.call('INCR', P .. 'seq')
for field, value in pairs(record) do redis.call('HSET', jobkey(id), field, value) end
redis.call('HSET', jobkey(id), 'id', id, 'seq', seq, 'turn', seq, 'state', 'queued', 'version', 0, 'attempt', 0,
  'losses', 0, 'run', '', 'cancel', '0', 'pause', '0', 'final', '0', 'hash', ARGV[4], 'created_at', at)
for _, name in ipairs(indexes_of(id)) do index(name, seq, id) end
index('state:queued', seq, id)
remember(id)
if natural ~= '' then redis.call('SET', P .. 'natural:' .. natural, id) end
if record['deadline_at'] then redis.call('ZADD', P .. 'deadlines', record['deadline_at'], id) end
log(id, at, 'submitted', '')
enter_locks(facts(id))
local job = place(id)
touch(id, at)
local rings = {}
admit(job.lane, at, rings)
return answer('new', rings, id)
