-- ARGV: id, priority
-- Returns {'ok'} or {why not}: gone, ended
-- A waiting job goes to its place among those of the new priority. One that has a slot keeps it; the
-- priority counts when it is queued again.
local id, priority = ARGV[1], ARGV[2]
local state = get(id, 'state')
if not state then return { 'gone' } end
if ended(state) then return { 'ended' } end
if get(id, 'priority') == priority then return { 'ok' } end
local waits = state == 'queued' and get(id, 'admitted') == '0'
if waits then leave_queues(facts(id)) end
redis.call('HSET', jobkey(id), 'priority', priority)
if waits then place(id) end
local at = now()
log(id, at, 'priority', priority)
touch(id, at)
return { 'ok' }
