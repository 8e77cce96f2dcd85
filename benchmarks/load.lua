-- For wrk: sends the requests of a file one after the other, all of one length, and tells what came of it as JSON.
-- wrk … -s load.lua URL -- FILE LENGTH
local file, length

function init(arguments)
  file = assert(io.open(arguments[1], "rb"))
  length = tonumber(arguments[2])
end

function request()
  local next_one = file:read(length)
  if not next_one then
    file:seek("set")
    next_one = file:read(length)
  end
  return next_one
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"answers": %d, "seconds": %.6f, "refused": %d, "broken": %d, "p50_ms": %.3f, "p99_ms": %.3f}\n',
    summary.requests, summary.duration / 1e6, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
