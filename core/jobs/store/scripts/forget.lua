-- ARGV: id
-- Returns {'ok'}, {'gone'}, {'live'} or {'untold'}: its end is not published yet
local id = ARGV[1]
local state = get(id, 'state')
if not state then return { 'gone' } end
if not ended(state) then return { 'live' } end
if redis.call('ZSCORE', P .. 'outbox', id) then return { 'untold' } end
forget(id)
return { 'ok' }
