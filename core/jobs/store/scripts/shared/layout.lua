-- A store of another layout is not touched: the caller migrates it first (core/jobs/store/migration.py).
if redis.call('GET', P .. 'layout') ~= LAYOUT then
  return redis.error_reply('LAYOUT the store of jobs has another layout')
end
