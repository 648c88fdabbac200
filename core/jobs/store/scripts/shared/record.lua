-- Key names, the clock, the record of a job, its log and its indexes.
-- Layout (all below vf:; P, BATCH, LAYOUT, MODES and CONFLICTS come from core/jobs/store/loading.py):
--   job:<id>            hash    the record; `bandwidth` is the job's own limit (bytes per second),
--                               `share` the limit its run began with, `person` who requested it (JSON;
--                               no answer has it), `permitted` that a run has decided about that one,
--                               `new_name` the name of the vfolder that it makes, `if_expired` that it
--                               counts only while its vfolder is expired. That of an ended job is
--                               smaller (`pack`): `packed` has its texts (core/jobs/packing.py)
--   log:<id>            list    its history: JSON lines [kind, time (ms), attempt, node, text], at most
--                               LOG_MAX; an ended job has a short one in its record, or none where
--                               its record says the same (`is_plain`)
--   ix:<index>          zset    ids by sequence number, for lists
--   due                 zset    ids by the time (ms) when the reaper looks at them
--   layout              text    the number of this layout
--   lock:<vfolder>:<mode>    zset   the live jobs that need this lock, by turn: the order of the vfolder
--   parked:<vfolder>:<mode>  zset   the queued jobs that wait for it, by turn
--   parked-lanes:<vfolder>   hash   '<v>:<l>' -> number of parked jobs
--   ready:<v>:<l>:<p>:<scope>  zset  the jobs that only wait for a slot, by turn
--   turns:<v>:<l>:<p>   zset    the scopes with ready jobs, in the order of their turns
--   waiting:<v>:<l>     hash    priority -> number of ready jobs
--   slots:<v>:<l>       zset    ids that hold a slot
--   wakes               zset    vfolders with parked jobs that nothing blocks any more: work to continue
--   held:<v>:<l>        set     those of them whose jobs this lane waits for; it admits none meanwhile
--   holding:<vfolder>   set     the lanes that it holds
--   admits              zset    lanes with free slots and ready jobs: work to continue
--   limits              hash    '<v>:<l>' -> slots
--   on:<node>           set     the jobs that a node runs
--   paused              set     paused volumes
--   bandwidth           hash    volume -> bytes per second, shared by its jobs and streams
--   purge-rates         hash    volume -> entries per second, shared by the jobs that purge on it
--   purging:<v>         set     ids of the jobs that purge on a volume; some may have ended
--   streams:<v>         hash    process of a door -> '<streams> <time (ms)>', expires soon
--   ended:<short|long>  zset    ids by the time of their end; kept for the short or the long time
--   deadlines           zset    ids by their deadline (ms)
--   outbox              zset    ended ids whose end is not published yet, in the order of their ends
--   live                channel '<id> <version> <state>' at every change
local LOG_MAX = 200
-- A longer log of an ended job stays a list: one long value would make its record a larger kind of hash.
local PACKED_LOG_BYTES = 2048
-- A process of a door that reported nothing for this long has no streams.
local STREAMS_SILENT_MS = 5000

local function now()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

local function jobkey(id) return P .. 'job:' .. id end

local function get(id, field)
  local value = redis.call('HGET', jobkey(id), field)
  if value == false then return nil end
  return value
end

local function touch(id, at)
  local version = redis.call('HINCRBY', jobkey(id), 'version', 1)
  redis.call('HSET', jobkey(id), 'updated_at', at)
  redis.call('PUBLISH', P .. 'live', id .. ' ' .. version .. ' ' .. get(id, 'state'))
end

local function log_line(kind, at, attempt, node, text)
  return cjson.encode({ kind, tonumber(at), tonumber(attempt), node or '', text or '' })
end

local function log(id, at, kind, text)
  redis.call('RPUSH', P .. 'log:' .. id, log_line(kind, at, get(id, 'attempt'), get(id, 'node'), text))
  redis.call('LTRIM', P .. 'log:' .. id, -LOG_MAX, -1)
end

local function index(name, seq, id) redis.call('ZADD', P .. 'ix:' .. name, seq, id) end

-- The vfolders that a job locks, without their volumes: from the record of an ended job, or its locks.
local function vfolders_of(id)
  local found, kept = {}, get(id, 'vfolders')
  for vfolder in (kept or ''):gmatch('%S+') do table.insert(found, vfolder) end
  if kept then return found end
  for _, lock in ipairs(cjson.decode(get(id, 'locks') or '[]')) do
    table.insert(found, (lock[1]:match('^[^/]*/(.*)$')))
  end
  return found
end

-- Every index that lists the job, except that of its state. All jobs are those of all states.
local function indexes_of(id)
  local names = { 'verb:' .. get(id, 'verb'), 'volume:' .. get(id, 'volume') }
  for _, field in ipairs({ 'scope', 'requester', 'label' }) do
    local value = get(id, field)
    if value and value ~= '' then table.insert(names, field .. ':' .. value) end
  end
  for _, vfolder in ipairs(vfolders_of(id)) do table.insert(names, 'vfolder:' .. vfolder) end
  return names
end

local function set_state(id, new)
  local old = get(id, 'state')
  if old == new then return end
  redis.call('ZREM', P .. 'ix:state:' .. old, id)
  index('state:' .. new, get(id, 'seq'), id)
  redis.call('HSET', jobkey(id), 'state', new)
end

local function keeping(state)
  return (state == 'failed' or state == 'partial') and 'long' or 'short'
end

local function ended(state)
  return state == 'succeeded' or state == 'partial' or state == 'failed' or state == 'cancelled'
end
