-- KEYS: a flag, and the version. ARGV: the flag's text, the version's, the flag's time to live in ms, or 0.
if ARGV[3] == '0' then
  redis.call('SET', KEYS[1], ARGV[1])
else
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
end
-- Not a counter: that would fail where something else lies under the key, and begin anew after an eviction.
redis.call('SET', KEYS[2], ARGV[2])
