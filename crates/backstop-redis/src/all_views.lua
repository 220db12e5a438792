-- KEYS[1]: the hash of all views. ARGV: the most views, the longest view, the longest time to live in ms.
-- Returns instances and views, one after the other.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- At random, if there are more.
local fields, views = redis.call('HRANDFIELD', KEYS[1], ARGV[1], 'WITHVALUES'), {}
for i = 1, #fields, 2 do
  local ends, view = string.match(fields[i + 1], '^(%d+) (.*)$')
  ends = tonumber(ends) or 0
  -- A later end is garbage, or of before a failover to a server whose clock is behind.
  if ends > now and ends <= now + ARGV[3] and #view <= tonumber(ARGV[2]) then
    views[#views + 1] = fields[i]
    views[#views + 1] = view
  end
end
return views
