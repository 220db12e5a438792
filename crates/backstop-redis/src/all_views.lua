-- KEYS[1]: the hash of all views. ARGV[1]: the longest view. Returns instances and views, one after the other.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local fields, views = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #fields, 2 do
  local ends, view = string.match(fields[i + 1], '^(%d+) (.*)$')
  if ends and tonumber(ends) > now and #view <= tonumber(ARGV[1]) then
    views[#views + 1] = fields[i]
    views[#views + 1] = view
  end
end
return views
