"""The scripts of `core.uploads.store` (Lua, run by Redis as one step each).

KEYS are those of one upload: offset, lease, record, rewind, wanted. ARGV[1] is the writer's name in
the lease, or what is created.
"""

ACQUIRE = """
local offset = redis.call('GET', KEYS[1])
local record = redis.call('GET', KEYS[3])
if not offset or not record then return {'gone'} end
if ARGV[4] ~= '' and not string.find(record, ARGV[4], 1, true) then return {'gone'} end
local holder = redis.call('GET', KEYS[2])
if holder and holder ~= ARGV[1] and holder ~= ARGV[3] then
  return {'held', holder}
end
redis.call('SET', KEYS[2], ARGV[1], 'EX', ARGV[2])
redis.call('DEL', KEYS[5])
return {'yours', offset, redis.call('GET', KEYS[4]) or '', record}
"""
ADVANCE = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return -1 end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[4])
redis.call('EXPIRE', KEYS[3], ARGV[4])
if ARGV[5] == '' then redis.call('DEL', KEYS[4])
else redis.call('SET', KEYS[4], ARGV[5], 'EX', ARGV[4]) end
if ARGV[6] == '1' then
  redis.call('DEL', KEYS[2], KEYS[5])
  return ''
end
redis.call('EXPIRE', KEYS[2], ARGV[3])
return redis.call('GET', KEYS[5]) or ''
"""
SAVE = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return -1 end
redis.call('SET', KEYS[3], ARGV[2], 'EX', ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 0
"""
CREATE = """
local known = redis.call('GET', KEYS[3])
if known == ARGV[1] then return 1 end
if known or redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('SET', KEYS[1], '0', 'EX', ARGV[2])
redis.call('SET', KEYS[3], ARGV[1], 'EX', ARGV[2])
return 1
"""
RELEASE = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[2], KEYS[5])
"""
FORGET = """
if ARGV[1] ~= '' and redis.call('GET', KEYS[2]) ~= ARGV[1] then return -1 end
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5])
return 0
"""
