-- wrk script: sends the requests of a file in turn, over and over. A line of the file is method, path,
-- Authorization header and body, separated by tabs. @@@@@@@ in a request stands for a seven-digit
-- number, unique per request, so that no point is logged twice. The number has a fixed length, so that
-- a request with its Content-Length is formatted once, not each time.

local templates = {}
local position = 0
local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init(arguments)
  number = tonumber(arguments[2])
  local headers = { ["Content-Type"] = "application/json" }
  for line in io.lines(arguments[1]) do
    local method, path, authorization, body = line:match("^(%S+)\t(%S+)\t([^\t]*)\t(.*)$")
    if authorization == "" then authorization = nil end
    headers["Authorization"] = authorization
    if body == "" then body = nil end
    local text = wrk.format(method, path, headers, body)
    table.insert(templates, { text = text, changes = text:find("@@@@@@@", 1, true) ~= nil })
  end
end

function request()
  position = position % #templates + 1
  local template = templates[position]
  number = number + 1
  if template.changes then
    return (template.text:gsub("@@@@@@@", tostring(number)))
  end
  return template.text
end

function done(summary, latency)
  local errors = summary.errors
  local last = 0
  for _, thread in ipairs(threads) do last = math.max(last, thread:get("number")) end
  print(string.format(
    'RESULT {"requests": %d, "microseconds": %d, "bytes": %d, "last_number": %d,'
      .. ' "refused": %d, "broken": %d, "p50": %d, "p99": %d}',
    summary.requests, summary.duration, summary.bytes, last,
    errors.status, errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
