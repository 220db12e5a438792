-- KEYS: any number of flags. ARGV[1]: how many bytes of each are of interest.
-- Returns for each {0} if it is missing, {1, bytes, time to live in ms or -1}, or {2} if it isn't a string.
local flags = {}
for i, key in ipairs(KEYS) do
  local kind = redis.call('TYPE', key)['ok']
  if kind == 'none' then
    flags[i] = {0, '', -1}
  elseif kind == 'string' then
    flags[i] = {1, redis.call('GETRANGE', key, 0, ARGV[1] - 1), redis.call('PTTL', key)}
  else
    flags[i] = {2, '', -1}
  end
end
return flags
