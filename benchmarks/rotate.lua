-- For wrk: ask for the paths named in the file $PATHS, one after another; print requests, microseconds and failures.
local requests = {}
local asked = 0

init = function()
  wrk.headers["Accept"] = os.getenv("ACCEPT")
  for path in io.lines(os.getenv("PATHS")) do
    requests[#requests + 1] = wrk.format("GET", path)
  end
end

request = function()
  asked = asked + 1
  return requests[asked % #requests + 1]
end

done = function(summary)
  local errors = summary.errors
  local failures = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format("\nrotated %d %d %d\n", summary.requests, summary.duration, failures))
end
