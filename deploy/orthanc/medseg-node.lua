-- Send every stable study to MedSeg Node, once, and never the node's own results. What is to be sent is not forgotten.
--
-- To use it, Orthanc (1.10 or later) needs these entries in its configuration (orthanc.json beside this file):
--   "LuaScripts" : [ "/etc/orthanc/medseg-node.lua" ],
--   "LuaHeartBeatPeriod" : 30,
--   "DicomModalities" : { "medseg-node" : [ "MEDSEG", "address of the node", 11112 ] }
-- and Orthanc's AE title must be among the node's allowed_calling_ae, if that lists any. docs/routing.md has the steps.

-- What is sent. An empty list means: all. Change it here; what was passed over before is not looked at again.
local MODALITIES = {}     -- only series of these, such as { 'CT', 'MR' }
local FROM = {}           -- only what came from these calling AE titles, such as { 'CT1' }; '': not by DICOM
local NOT_FROM = {}       -- never what came from these
local STUDIES = {}        -- only studies whose description has one of these Lua patterns, in lower case: { '^ct abd' }
local NOT_STUDIES = {}    -- never studies whose description has one of these
local SERIES = {}         -- only series whose description has one of these, such as { 'axial' }
local NOT_SERIES = {}     -- never series whose description has one of these, such as { 'scout', 'locali[sz]er' }
local MINIMUM = 1         -- only studies that have so many instances to send
local FIRST_FROM = {}     -- studies from these calling AE titles go before all others, such as { 'CT-ER' }
local FIRST_STUDIES = {}  -- and so do studies whose description has one of these, such as { 'stroke', 'trauma' }

local NODE = 'medseg-node'          -- name of the node among DicomModalities
local MANUFACTURER = 'MedSeg Node'  -- Manufacturer (0008,0070) of the node's own results
local RETRY_S = 60                  -- seconds until what was not taken is tried again
local AT_ONCE = 200                 -- instances in a job: so many at most are sent again where Orthanc dies amid it
local FIRST_START_S = 3600          -- at the script's very first start: what came so many seconds ago is still sent

-- What is kept in Orthanc, as user-defined metadata (1024 and above):
local SENT = '4810'      -- of an instance: the node has taken it
local POSITION = '4812'  -- of a study: the number of a change, before which all that is to be sent was sent

-- How it works. Orthanc's own log of changes says what came, and survives each stop. It is read from POSITION on, a
-- little whenever something happens; each study that it names is pending until all of its instances are marked as SENT.
-- POSITION stays before the oldest pending study. It is written to each study that becomes stable, so that after a
-- restart it is found near the end of the log. Nothing else is kept: `pending` and all below is made again from that.
--
-- It is woken by each new instance, stable study and ended job; by OnHeartBeat (Orthanc 1.11.1 and later); and, for
-- Orthanc 1.10, by HTTP requests and queries of anybody: a health check, or the node, which asks its [[peers]] twice a
-- minute (`evidence`).

-- Other scripts may use the same callbacks: theirs run first.
local before = {
   initialize = Initialize,
   stable = OnStableStudy,
   stored = OnStoredInstance,
   success = OnJobSuccess,
   failure = OnJobFailure,
   beat = OnHeartBeat,
   http = IncomingHttpRequestFilter,
   find = IncomingFindRequestFilter
}

local PAGE = 500          -- changes that are read at once
local BUDGET_S = 0.25     -- seconds of work each time: Orthanc's other callbacks wait meanwhile
local REFUSALS = 3        -- so many instances of a study are refused alone before others have their turn
local LONGEST_S = 3600    -- between two tries of a study of which nothing is taken though the node is there

local position = nil      -- number of the last change that was read; nil until POSITION was found
local looked = nil        -- while POSITION is looked for: the number of the change before which it is looked for next
local newest = 0          -- number of the last change when that began
local written = nil       -- POSITION as it was written last
local studies_of = {}     -- series id -> its study, false for a series of the node's own; a cache
local cached = 0
local pending = {}        -- study id -> { change = its first, again_at = not before, first, refused, tries, later }
local hand = nil          -- the study that is being sent: { study, instances = what is left of it, refusals }
local job = nil           -- what sends now: { id, study, instances, since }
local portion = AT_ONCE   -- instances in the next job: fewer after a failure, so that one that is refused is found
local refused = {}        -- studies of which something was refused since the node took something, and their number
local refused_count = 0
local away_until = 0      -- nothing is sent before this time
local woken_at = 0
local broken = false

-- A time limit for one wake-up: of this process, and of the clock where something else is slow.
local function limit(seconds)
   local clock, time = os.clock() + seconds, os.time() + 1
   return function()
      return os.clock() >= clock or os.time() > time
   end
end

local function get(path)
   local answer = RestApiGet(path)
   return answer ~= nil and ParseJson(answer) or nil
end

local function has(list, value)
   for _, one in ipairs(list) do
      if one == value then
         return true
      end
   end
   return false
end

local function described(patterns, text)
   for _, pattern in ipairs(patterns) do
      if string.find(string.lower(text or ''), pattern) then
         return true
      end
   end
   return false
end

local function check()
   for _, patterns in ipairs({ STUDIES, NOT_STUDIES, SERIES, NOT_SERIES, FIRST_STUDIES }) do
      for _, pattern in ipairs(patterns) do
         if not pcall(string.find, '', pattern) then
            broken = true
            print('medseg-node: "' .. pattern .. '" is no Lua pattern; nothing is sent until it is corrected')
         end
      end
   end
end

-- What of a study is to be sent -----------------------------------------------------------------------------------

local function ours(series)
   local manufacturer = series['MainDicomTags']['Manufacturer'] or ''
   return manufacturer:match('^%s*(.-)%s*$') == MANUFACTURER
end

local function sent(instance)
   return has(get('/instances/' .. instance .. '/metadata') or {}, SENT)
end

local function caller(series)
   local first = series['Instances'][1]
   local names = first ~= nil and get('/instances/' .. first .. '/metadata') or {}
   return has(names, 'RemoteAET') and RestApiGet('/instances/' .. first .. '/metadata/RemoteAET') or ''
end

local function series_wanted(series)
   local tags = series['MainDicomTags']
   if ours(series) or #MODALITIES > 0 and not has(MODALITIES, tags['Modality']) then
      return false
   end
   local description = tags['SeriesDescription']
   if #SERIES > 0 and not described(SERIES, description) or described(NOT_SERIES, description) then
      return false
   end
   if #FROM + #NOT_FROM == 0 then
      return true
   end
   local from = caller(series)
   return (#FROM == 0 or has(FROM, from)) and not has(NOT_FROM, from)
end

local function study_wanted(study)
   local description = (study['MainDicomTags'] or {})['StudyDescription']
   return (#STUDIES == 0 or described(STUDIES, description)) and not described(NOT_STUDIES, description)
end

-- The instances that the node should have and has not taken; nil where Orthanc does not have the study any more.
local function unsent(id)
   local study, all = get('/studies/' .. id), get('/studies/' .. id .. '/series')
   if study == nil or all == nil then
      return nil
   end
   local instances, wanted = {}, 0
   for _, series in ipairs(study_wanted(study) and all or {}) do
      if series_wanted(series) then
         for _, instance in ipairs(series['Instances']) do
            wanted = wanted + 1
            if not sent(instance) then
               table.insert(instances, instance)
            end
         end
      end
   end
   return wanted >= MINIMUM and instances or {}
end

local function goes_first(id)
   if #FIRST_STUDIES > 0 then
      local study = get('/studies/' .. id) or {}
      if described(FIRST_STUDIES, (study['MainDicomTags'] or {})['StudyDescription']) then
         return true
      end
   end
   for _, series in ipairs(#FIRST_FROM > 0 and get('/studies/' .. id .. '/series') or {}) do
      if has(FIRST_FROM, caller(series)) then
         return true
      end
   end
   return false
end

-- Where in the log of changes we are ------------------------------------------------------------------------------

local function write_position(study)
   if position == nil then
      return
   end
   local settled = position
   for _, one in pairs(pending) do
      settled = math.min(settled, one.change - 1)
   end
   local path = '/studies/' .. study .. '/metadata/' .. POSITION
   if settled ~= written and RestApiPut(path, string.format('%d', settled)) ~= nil then
      written = settled
   end
end

-- Look for POSITION in one page of the log, from its end to its beginning.
local function look_for_position()
   if looked == nil then
      newest = (get('/changes?last') or {})['Last'] or 0
      looked = newest
   end
   local since = math.max(0, looked - PAGE)
   local changes = (get(string.format('/changes?since=%d&limit=%d', since, PAGE)) or {})['Changes'] or {}
   local oldest = os.date('!%Y%m%dT%H%M%S', os.time() - FIRST_START_S)
   local asked = {}
   for place = #changes, 1, -1 do
      local change = changes[place]
      if change['ResourceType'] == 'Study' and not asked[change['ID']] then
         asked[change['ID']] = true
         if has(get('/studies/' .. change['ID'] .. '/metadata') or {}, POSITION) then
            position = tonumber(RestApiGet('/studies/' .. change['ID'] .. '/metadata/' .. POSITION) or '')
            if position ~= nil then
               return
            end
         end
      end
   end
   looked = since
   if looked == 0 then -- the script's first start: not the whole archive, but what has just come
      position = newest
      looked = nil
      since = math.max(0, newest - 20 * PAGE)
      changes = (get(string.format('/changes?since=%d&limit=%d', since, 20 * PAGE)) or {})['Changes'] or {}
      for place = #changes, 1, -1 do
         if changes[place]['Date'] < oldest then
            break
         end
         position = changes[place]['Seq'] - 1
      end
   end
end

local function note(id, change)
   if pending[id] == nil then
      pending[id] = { change = change, again_at = 0, first = goes_first(id), refused = false, tries = 0, later = {} }
      if written == nil then -- from now on no restart is the first start
         write_position(id)
      end
   end
end

local function study_of(series)
   if studies_of[series] == nil then
      local known = get('/series/' .. series)
      if known == nil then
         return false
      end
      if cached == 1000 then
         studies_of, cached = {}, 0
      end
      studies_of[series], cached = not ours(known) and known['ParentStudy'], cached + 1
   end
   return studies_of[series]
end

local function read_changes(over)
   repeat
      local answer = get(string.format('/changes?since=%d&limit=%d', position, PAGE))
      if answer == nil then
         return
      end
      for _, change in ipairs(answer['Changes']) do
         if change['ChangeType'] == 'NewInstance' then
            local instance = get('/instances/' .. change['ID'])
            local study = instance ~= nil and study_of(instance['ParentSeries'])
            if study then
               note(study, change['Seq'])
            end
         end
         position = change['Seq']
         if over() then
            return
         end
      end
   until answer['Done'] or #answer['Changes'] == 0 or over()
end

-- Sending ---------------------------------------------------------------------------------------------------------

local function settle(id)
   pending[id] = nil
   write_position(id)
end

local function before_in_turn(one, other)
   if one.refused ~= other.refused then
      return not one.refused
   elseif one.first ~= other.first then
      return one.first
   end
   return one.change < other.change
end

-- The pending study whose turn it is: those that go first, then the oldest; last those that were refused.
local function next_study(passed)
   local best, now = nil, os.time()
   for id, one in pairs(pending) do
      if one.again_at <= now and not passed[id] and (best == nil or before_in_turn(one, pending[best])) then
         best = id
      end
   end
   return best
end

local function take_in_hand(over)
   local passed = {} -- studies that still grow wait
   while hand == nil and not over() do
      local id = next_study(passed)
      if id == nil then
         return
      end
      local study = get('/studies/' .. id)
      if study ~= nil and study['IsStable'] == false then
         passed[id] = true
      else
         local instances = unsent(id)
         if instances == nil then
            pending[id] = nil
         elseif #instances == 0 then
            settle(id)
         else
            hand = { study = id, instances = instances, refusals = 0 }
         end
      end
   end
end

-- The next instances of the study in hand, and what is left after them; those that were refused alone come last.
local function next_portion()
   local one, chosen, left = pending[hand.study], {}, {}
   for _, instance in ipairs(hand.instances) do
      table.insert(#chosen < portion and not one.later[instance] and chosen or left, instance)
   end
   if #chosen == 0 then
      one.later = {}
      chosen = { table.remove(left, 1) }
   end
   return chosen, left
end

local function send()
   local chosen, left = next_portion()
   local body = DumpJson({ Resources = chosen, Asynchronous = true }, true)
   local answer = RestApiPost('/modalities/' .. NODE .. '/store', body)
   if answer == nil then
      away_until = os.time() + RETRY_S
      hand = nil
      print('medseg-node: cannot send; is "' .. NODE .. '" among DicomModalities? It is tried again later')
      return
   end
   hand.instances = left
   job = { id = ParseJson(answer)['ID'], study = hand.study, instances = chosen, since = os.time() }
end

local function succeeded()
   local done = job
   job, portion = nil, math.min(AT_ONCE, portion * 2)
   for _, instance in ipairs(done.instances) do
      RestApiPut('/instances/' .. instance .. '/metadata/' .. SENT, 'sent to ' .. NODE)
   end
   if refused_count >= REFUSALS then -- the node has room again
      for _, one in pairs(pending) do
         one.again_at, one.refused, one.tries, one.later = 0, false, 0, {}
      end
   end
   refused, refused_count = {}, 0
   if hand ~= nil and #hand.instances == 0 then
      hand = nil -- looked at once more before it is settled: something may have come meanwhile
   end
end

local function all_later(one, instances)
   for _, instance in ipairs(instances) do
      if not one.later[instance] then
         return false
      end
   end
   return true
end

-- The node is there and did not take one instance: others of the study are tried, then other studies.
local function refuse(study, instance)
   local one = pending[study]
   one.later[instance] = true
   table.insert(hand.instances, instance)
   hand.refusals = hand.refusals + 1
   local all = all_later(one, hand.instances)
   if not all and hand.refusals < REFUSALS then
      return
   end
   if all then
      one.refused, one.tries = true, one.tries + 1
   end
   one.again_at = os.time() + math.min(LONGEST_S, RETRY_S * 2 ^ math.max(0, math.min(one.tries - 1, 12)))
   hand = nil
   if not refused[study] then
      refused[study], refused_count = true, refused_count + 1
   end
   if refused_count >= REFUSALS then -- it takes nothing: its disk may be full
      away_until = os.time() + RETRY_S
   end
   print('medseg-node: study ' .. study .. ' was refused in part or whole; it is tried again later')
end

local function failed()
   local lost = job
   job, portion = nil, math.max(1, math.floor(#lost.instances / 4))
   if RestApiPost('/modalities/' .. NODE .. '/echo', '{ "Timeout" : 1 }') == nil then
      away_until = os.time() + RETRY_S
      hand = nil
      print('medseg-node: study ' .. lost.study .. ' was not taken: the node does not answer; it is tried again later')
   elseif #lost.instances > 1 then
      for place, instance in ipairs(lost.instances) do
         table.insert(hand.instances, place, instance)
      end
   else
      refuse(lost.study, lost.instances[1])
   end
end

-- Whether the job has ended though nobody told us.
local function look_after_job()
   if job ~= nil and os.time() - job.since > RETRY_S then
      job.since = os.time()
      local state = (get('/jobs/' .. job.id) or { State = 'Failure' })['State']
      if state == 'Success' then
         succeeded()
      elseif state == 'Failure' then
         failed()
      end
   end
end

-- `stable`: a study that has just become so; looked at even if a database with several writers showed its change late.
local function look(seconds, stable)
   local over = limit(seconds)
   while position == nil and not over() do
      look_for_position()
   end
   if position ~= nil then
      read_changes(over)
      if stable ~= nil then
         note(stable, position)
         write_position(stable)
      end
   end
   look_after_job()
   if job == nil and os.time() >= away_until then
      if hand == nil then
         take_in_hand(over)
      end
      if hand ~= nil then
         send()
      end
   end
end

-- Run a part of this script; what goes wrong in it is told, and neither stops Orthanc nor the callbacks of others.
local function guarded(work, ...)
   if not broken then
      woken_at = os.time()
      local done, why = pcall(work, ...)
      if not done then
         hand = nil
         print('medseg-node: ' .. tostring(why))
      end
   end
end

local function wake()
   guarded(look, BUDGET_S)
end

check()

-- Callbacks -------------------------------------------------------------------------------------------------------

function Initialize()
   if before.initialize then before.initialize() end
   guarded(look, 4 * BUDGET_S)
end

function OnStableStudy(study, tags, metadata)
   if before.stable then before.stable(study, tags, metadata) end
   guarded(look, BUDGET_S, study)
end

function OnStoredInstance(instance, tags, metadata, origin)
   if before.stored then before.stored(instance, tags, metadata, origin) end
   if os.time() ~= woken_at then
      wake()
   end
end

local function ended(id, end_job)
   if job ~= nil and job.id == id then
      guarded(end_job)
      wake()
   end
end

function OnJobSuccess(id)
   if before.success then before.success(id) end
   ended(id, succeeded)
end

function OnJobFailure(id)
   if before.failure then before.failure(id) end
   ended(id, failed)
end

function OnHeartBeat()
   if before.beat then before.beat() end
   wake()
end

local function asked()
   if os.time() - woken_at >= math.min(RETRY_S, 10) then
      wake()
   end
end

function IncomingHttpRequestFilter(method, uri, ip, username, headers)
   local allowed = true
   if before.http then allowed = before.http(method, uri, ip, username, headers) end
   asked()
   return allowed
end

function IncomingFindRequestFilter(query, origin)
   if before.find then query = before.find(query, origin) end
   asked()
   return query
end
