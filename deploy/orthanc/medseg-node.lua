-- Send every stable study to MedSeg Node, once, and never the node's own results.
--
-- To use it, Orthanc (1.10 or later) needs two entries in its configuration (orthanc.json beside this file):
--   "LuaScripts" : [ "/etc/orthanc/medseg-node.lua" ],
--   "DicomModalities" : { "medseg-node" : [ "MEDSEG", "address of the node", 11112 ] }
-- and Orthanc's AE title must be among the node's allowed_calling_ae, if that lists any.
--
-- A study becomes stable when nothing arrived for "StableAge" seconds, and again after the node's SEG and SR arrived.
-- So each instance that the node has taken is marked with a metadata of Orthanc; only what has no mark is sent. What
-- could not be sent is tried again when the next instance or stable study arrives, at most once in RETRY_S seconds,
-- and when its own study becomes stable again. The node treats an identical instance as a no-op.

local NODE = 'medseg-node'          -- name of the node among DicomModalities
local MANUFACTURER = 'MedSeg Node'  -- Manufacturer (0008,0070) of the node's own results
local SENT = '4810'                 -- user-defined metadata (1024 and above) that marks what the node has taken
local RETRY_S = 60

-- Other scripts may use the same callbacks: theirs run first.
local before = {
   stable = OnStableStudy,
   stored = OnStoredInstance,
   success = OnJobSuccess,
   failure = OnJobFailure
}

local jobs = {}       -- job id -> { study = Orthanc's study id, instances = { Orthanc's instance ids } }
local underway = {}   -- instance id -> true while a job sends it
local failed = {}     -- study id -> true
local tried_at = 0

local function get(path)
   local answer = RestApiGet(path)
   return answer ~= nil and ParseJson(answer) or nil
end

local function marked(instance)
   for _, name in ipairs(get('/instances/' .. instance .. '/metadata') or {}) do
      if name == SENT then
         return true
      end
   end
   return false
end

local function ours(series)
   local manufacturer = series['MainDicomTags']['Manufacturer'] or ''
   return manufacturer:match('^%s*(.-)%s*$') == MANUFACTURER
end

local function unsent(study)
   local instances = {}
   for _, series in ipairs(get('/studies/' .. study .. '/series') or {}) do
      if not ours(series) then
         for _, instance in ipairs(series['Instances']) do
            if not underway[instance] and not marked(instance) then
               table.insert(instances, instance)
            end
         end
      end
   end
   return instances
end

local function send(study)
   local instances = unsent(study)
   if #instances == 0 then
      return
   end
   local body = DumpJson({ Resources = instances, Asynchronous = true }, true)
   local answer = RestApiPost('/modalities/' .. NODE .. '/store', body)
   if answer == nil then
      failed[study] = true
      PrintRecursive('medseg-node: cannot send; is "' .. NODE .. '" among DicomModalities?')
      return
   end
   for _, instance in ipairs(instances) do
      underway[instance] = true
   end
   jobs[ParseJson(answer)['ID']] = { study = study, instances = instances }
end

local function retry()
   if next(failed) == nil or os.time() - tried_at < RETRY_S then
      return
   end
   tried_at = os.time()
   local again = failed
   failed = {}
   for study in pairs(again) do
      send(study)
   end
end

function OnStableStudy(study, tags, metadata)
   if before.stable then before.stable(study, tags, metadata) end
   failed[study] = nil
   send(study)
   retry()
end

function OnStoredInstance(instance, tags, metadata, origin)
   if before.stored then before.stored(instance, tags, metadata, origin) end
   retry()
end

function OnJobSuccess(job)
   if before.success then before.success(job) end
   local done = jobs[job]
   if done ~= nil then
      jobs[job] = nil
      for _, instance in ipairs(done.instances) do
         underway[instance] = nil
         RestApiPut('/instances/' .. instance .. '/metadata/' .. SENT, 'sent to ' .. NODE)
      end
   end
end

function OnJobFailure(job)
   if before.failure then before.failure(job) end
   local lost = jobs[job]
   if lost ~= nil then
      jobs[job] = nil
      for _, instance in ipairs(lost.instances) do
         underway[instance] = nil
      end
      failed[lost.study] = true
      tried_at = os.time()
      print('medseg-node: study ' .. lost.study .. ' was not taken; it is tried again later')
   end
end
