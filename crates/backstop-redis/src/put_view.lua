-- KEYS[1]: the hash of all views. ARGV: the instance, its view, its time to live in ms, the longest one of any view.
-- A field has no time to live of its own before Redis 7.4, so each value begins with when it ends, by the server's clock.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local longest = tonumber(ARGV[4])
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', now + ARGV[3]) .. ' ' .. ARGV[2])
-- Removes views that have ended, and garbage: of eight that are drawn at random, so that the work doesn't grow with the number
-- of instances.
for _, instance in ipairs(redis.call('HRANDFIELD', KEYS[1], 8)) do
  local ends = tonumber(string.match(redis.call('HGET', KEYS[1], instance), '^(%d+) ')) or 0
  if ends <= now or ends > now + longest then redis.call('HDEL', KEYS[1], instance) end
end
redis.call('PEXPIRE', KEYS[1], longest)
