-- Adds one instance's calls and errors of a feature since its last report, and decides for the fleet.
-- The file fleet_window.rs of backstop-features has the same rules.
--
-- KEYS[1]  a hash
-- ARGV     calls, errors, instance, window_ms, min_errors, share_ppm, degrade_ms, degrade_max_ms, settle_ms, and when it was
--          sent, by the server's clock, or 0 if the sender doesn't know that clock
-- Returns  {verdict, remaining_ms, now_ms}. Verdicts: 0 counting, 1 degraded by this report, 2 degraded already,
--          3 only the reporting instance fails, -1 something else is under the key, and was left alone.

local add_calls, add_errors, instance = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local window, min_errors, share = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local degrade, degrade_max, settle = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])

-- Only the server's clock, so that no two clocks need to agree.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local key, sent = KEYS[1], tonumber(ARGV[10])
local kind = redis.call('TYPE', key)['ok']
if kind ~= 'none' and kind ~= 'hash' then return {-1, 0, now} end
-- Older than a window: the server has hung.
if sent > 0 and now - sent > window then return {0, 0, now} end

local fields = redis.call('HMGET', key, 'start', 'calls', 'errors', 'tripped', 'until', 'trips', 'who', 'peers', 'many')
-- Garbage counts as 0. Infinity, and what isn't equal to itself (NaN), are numbers here.
local function number(i)
  local n = tonumber(fields[i])
  if not n or n ~= n or n < 0 or n > 2 ^ 53 then return 0 end
  return math.floor(n)
end
local start, calls, errors, tripped, till, trips = number(1), number(2), number(3), number(4), number(5), number(6)
local who, peers, many = fields[7] or '', number(8), number(9)

-- A degradation that began in the future: the clock has gone back, as by a failover to a server whose clock is behind.
-- Or one longer than the longest degrade_max, 24 h: garbage. The fleet counts anew.
if tripped > now or till - now > math.max(degrade_max, 86400000) then till = 0 end
-- Results that arrive late don't prolong it. Another instance may have had a longer degrade_max.
if till > now then return {2, math.min(till - now, degrade_max), now} end

-- A window starts with its first error. Healthy traffic writes nothing.
if start == 0 or start > now or now - start >= window then
  if add_errors == 0 then return {0, 0, now} end
  start, calls, errors, who, peers, many = now, 0, 0, instance, 0, 0
end
calls = calls + math.max(add_calls, add_errors)
errors = errors + add_errors
if instance ~= who then
  peers = 1
  if add_errors > 0 then many = 1 end
end
-- A long calm forgets earlier degradations.
if trips > 0 and now - till > 2 * degrade_max then trips = 0 end

local verdict, remaining = 0, 0
if errors >= min_errors and errors * 1000000 >= calls * share and now - start >= settle then
  if peers == 1 and many == 0 then
    -- One bad instance among several degrades nobody else.
    if instance == who then verdict = 3 end
  else
    verdict = 1
    remaining = math.min(degrade * 2 ^ math.min(trips, 20), degrade_max)
    trips, tripped, till, start = trips + 1, now, now + remaining, 0
  end
end

redis.call('HSET', key, 'start', start, 'calls', calls, 'errors', errors, 'tripped', tripped, 'until', till,
  'trips', trips, 'who', who, 'peers', peers, 'many', many)
if trips > 0 then
  redis.call('PEXPIRE', key, math.max(0, till - now) + 2 * degrade_max + window)
else
  -- From the window's start: later errors don't prolong it.
  redis.call('PEXPIRE', key, math.max(1, start + window - now))
end
return {verdict, remaining, now}
