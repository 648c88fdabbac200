-- ARGV: id, run, why, max losses: the worker's main process saw that the process of this run is gone
-- Returns {'ok', more, rings…} or {'lost'} when the run no longer holds the job
local id = ARGV[1]
if not holds(id, ARGV[2]) then return answer('lost') end
local rings = {}
lose(id, ARGV[3], tonumber(ARGV[4]), now(), rings)
return answer('ok', rings)
