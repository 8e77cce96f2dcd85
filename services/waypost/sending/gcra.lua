-- The rate limits of one number, for all pods: GCRA ("leaky bucket as a meter") with short reservations.
-- The same arithmetic as gcra.py, in whole microseconds; a test compares the two.
--
-- KEYS[1]     hash of the number: t (theoretical arrival time), f (rate in per mille), a (when f was set)
-- KEYS[2..]   one string per row: the theoretical arrival time of its pair
-- ARGV[1]     now; 0 takes the server's clock, which all pods share
-- ARGV[2]     what to do: take, charge or slow
-- ARGV[3..]   interval, tolerance, reply horizon, bulk horizon, pair interval, pair tolerance
-- ARGV[9..]   take: one priority per row, 0 reply, 1 bulk; charge: how many
-- take answers {outcome, wait, outcome, wait, …}: 0 may go after wait, 1 the number is busy, 2 the pair is busy
local now = tonumber(ARGV[1])
if now == 0 then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000000 + tonumber(time[2])
end
local interval, tolerance = tonumber(ARGV[3]), tonumber(ARGV[4])
local horizons = {[0] = tonumber(ARGV[5]), [1] = tonumber(ARGV[6])}
local pair_interval, pair_tolerance = tonumber(ARGV[7]), tonumber(ARGV[8])

local whole = function(value) return string.format('%.0f', value) end

local stored = redis.call('HMGET', KEYS[1], 't', 'f', 'a')
local t, f, a = tonumber(stored[1] or 0), tonumber(stored[2] or 1000), tonumber(stored[3] or 0)

-- A rate that was halved comes back to full in 60 s.
local factor = math.min(1000, f + math.floor(math.max(0, now - a) / 60000))
interval = math.floor(interval * 1000 / factor)
tolerance = math.floor(tolerance * 1000 / factor)

local answer = {}
if ARGV[2] == 'slow' then
  -- Many calls of the same second report the same overload: it counts once.
  if now - a >= 1000000 then
    f, a = math.max(62, math.floor(factor / 2)), now
  end
elseif ARGV[2] == 'charge' then
  -- Debt is capped at a second, so that a flood of incoming messages cannot silence the number.
  t = math.max(t, math.min(math.max(t, now) + tonumber(ARGV[9]) * interval, now + 1000000))
else
  for row = 1, #KEYS - 1 do
    local priority = tonumber(ARGV[8 + row])
    local start = math.max(now, t + interval - tolerance)
    local p = tonumber(redis.call('GET', KEYS[1 + row]) or 0)
    local pair_start = p + pair_interval - pair_tolerance
    if pair_start > now then
      answer[#answer + 1], answer[#answer + 2] = 2, pair_start - now
    elseif start - now > horizons[priority] then
      -- Ask again before the start itself: a late question would leave a gap in the pace.
      answer[#answer + 1], answer[#answer + 2] = 1, start - now - math.floor(horizons[priority] / 2)
    else
      t = math.max(t, start) + interval
      p = math.max(p, start) + pair_interval
      redis.call('SET', KEYS[1 + row], whole(p), 'PX', whole(math.ceil((p - now) / 1000) + 1000))
      answer[#answer + 1], answer[#answer + 2] = 0, start - now
    end
  end
end
redis.call('HSET', KEYS[1], 't', whole(t), 'f', whole(f), 'a', whole(a))
redis.call('PEXPIRE', KEYS[1], whole(math.ceil(math.max(0, t - now) / 1000) + 120000))
return answer
