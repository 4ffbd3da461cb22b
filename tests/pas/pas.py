"""A patient administration system for the stories (tests/it/stories.rs), on HL7 libraries that are not the gateway's.

Takes HL7 v2 over MLLP, validates each message strictly, acknowledges it, and writes a line of JSON that says what the
library read. A line of JSON on standard input is what a person decides there: it becomes an RRI^I12 about a referral
that came, and goes to a gateway; the answer is a line as well. Ends with its standard input.

The first line says the port: {"port": 40001}
A message:                    {"message": "REF^I12^REF_I12", "ubrn": "000100000000", "faults": [], ...}
To decide:                    {"gateway": "127.0.0.1:2575", "ubrn": "000100000000", "status": ["R", "Rejected"], ...}
The answer:                   {"answer": "AA", "to": "WP-1", "text": ""}
"""

import base64
import json
import os
import sys
import tempfile
import threading
from datetime import datetime, timezone

import hl7
from hl7.client import MLLPClient
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.core import Message
from hl7apy.exceptions import HL7apyException
from hl7apy.mllp import AbstractErrorHandler, AbstractHandler, MLLPServer
from hl7apy.parser import parse_message

APPLICATION, FACILITY = sys.argv[1], sys.argv[2]
TAKEN = ["REF^I12^REF_I12", "REF^I13^REF_I12", "REF^I14^REF_I12", "RRI^I12^RRI_I12", "MDM^T02^MDM_T02"]
TAKEN += ["SIU^S12^SIU_S12", "SIU^S13^SIU_S12", "SIU^S15^SIU_S12"]

saying = threading.Lock()
referrals = {}
ids = iter(range(1, 1_000_000))


def say(line):
    with saying:
        print(json.dumps(line), flush=True)


def now():
    return datetime.now(timezone.utc).strftime("%Y%m%d%H%M%S+0000")


def faults_of(message):
    """What the standard forbids. Codes of a site's own are no fault: the library warns of them only."""
    handle, report = tempfile.mkstemp()
    os.close(handle)
    try:
        message.validate(report_file=report)
    except HL7apyException:
        pass
    with open(report, encoding="utf-8") as lines:
        faults = [line.strip() for line in lines if line.startswith("Error")]
    os.unlink(report)
    return faults


def text(element):
    """Its value without escapes; nothing if it is not there."""
    value = element.to_er7()
    for escape, character in [(".br", "\n"), ("F", "|"), ("S", "^"), ("T", "&"), ("R", "~"), ("E", "\\")]:
        value = value.replace(f"\\{escape}\\", character)
    return value


def segments(message, name):
    """In order, whatever group they are in."""
    found = []
    for child in message.children:
        if child.name == name:
            found.append(child)
        elif child.classname == "Group":
            found.extend(segments(child, name))
    return found


def read(message):
    msh = message.msh
    line = {"message": msh.msh_9.to_er7(), "controlId": text(msh.msh_10), "receiver": [text(msh.msh_5), text(msh.msh_6)]}
    [pid] = segments(message, "PID")
    numbers = [number for number in pid.pid_3 if text(number.pid_3_5) == "NH"]
    line["nhsNumber"] = [text(number.pid_3_1) for number in numbers]
    for rf1 in segments(message, "RF1"):
        line["ubrn"] = text(rf1.rf1_11.rf1_11_1)
        line["status"] = text(rf1.rf1_1.rf1_1_1)
        line["state"] = text(rf1.rf1_1.rf1_1_4)
        line["priority"] = text(rf1.rf1_2.rf1_2_1)
        line["disposition"] = text(rf1.rf1_4.rf1_4_1)
        line["reason"] = text(rf1.rf1_10.rf1_10_1)
    for prd in segments(message, "PRD"):
        if text(prd.prd_1.prd_1_1) == "RT":
            line["service"] = text(prd.prd_7.prd_7_1)
    notes = [text(note.nte_3) for note in segments(message, "NTE")]
    if notes:
        line["notes"] = notes
    for sch in segments(message, "SCH"):
        line["ubrn"] = text(sch.sch_26.sch_26_1)
        line["state"] = text(sch.sch_25.sch_25_1)
        line["start"] = text(sch.sch_11.sch_11_4)
    for txa in segments(message, "TXA"):
        line["ubrn"] = text(txa.txa_14.txa_14_1)
        line["fileName"] = text(txa.txa_16)
    for obx in segments(message, "OBX"):
        # The library leaves OBX-5 untyped: source, type, subtype, encoding and data of an ED.
        _, kind, subtype, encoding, data = [text(component) for component in obx.obx_5.children]
        content = base64.b64decode(data, validate=True)
        line["valueType"], line["contentType"], line["encoding"] = text(obx.obx_2), f"{kind}/{subtype}", encoding
        line["document"] = base64.b64encode(content).decode()
    return line


def answer(control_id, code, why=""):
    ack = Message("ACK", version="2.4", validation_level=VALIDATION_LEVEL.STRICT)
    ack.msh.msh_3, ack.msh.msh_4 = APPLICATION, FACILITY
    ack.msh.msh_7, ack.msh.msh_9 = now(), "ACK"
    ack.msh.msh_10, ack.msh.msh_11 = f"A-{next(ids)}", "T"
    ack.msa.msa_1, ack.msa.msa_2 = code, control_id
    if why:
        ack.msa.msa_3 = why[:80]
    ack.validate()
    return ack.to_mllp()


class Take(AbstractHandler):
    def reply(self):
        message = parse_message(self.incoming_message, validation_level=VALIDATION_LEVEL.STRICT)
        line = read(message)
        line["faults"] = faults_of(message)
        if line["message"].startswith("REF"):
            referrals[line["ubrn"]] = line
        say(line)
        if line["faults"]:
            return answer(line["controlId"], "AE", line["faults"][0])
        return answer(line["controlId"], "AA")


class Refuse(AbstractErrorHandler):
    """What the library cannot read, or nobody here takes."""

    def reply(self):
        control_id = str(hl7.parse(self.incoming_message).segment("MSH")[10])
        say({"message": "?", "controlId": control_id, "faults": [f"{type(self.exc).__name__}: {self.exc}"]})
        return answer(control_id, "AE", str(self.exc))


def decide(decision):
    """The RRI^I12 of a decision about a referral that came: its UBRN and patient are what the library read of it."""
    known = referrals[decision["ubrn"]]
    rri = Message("RRI_I12", version="2.4", validation_level=VALIDATION_LEVEL.STRICT)
    rri.msh.msh_3, rri.msh.msh_4 = APPLICATION, FACILITY
    rri.msh.msh_5, rri.msh.msh_6 = "ERSGW", FACILITY
    rri.msh.msh_7, rri.msh.msh_9 = now(), "RRI^I12^RRI_I12"
    rri.msh.msh_10, rri.msh.msh_11 = f"{APPLICATION}-{next(ids)}", "P"
    rri.rf1.rf1_1 = "^".join(decision["status"])
    rri.rf1.rf1_6 = f"{APPLICATION}-{known['ubrn']}"
    if "reason" in decision:
        rri.rf1.rf1_10 = decision["reason"]
    rri.rf1.rf1_11 = f"{known['ubrn']}^ERS^^UBRN"
    provider = rri.add_group("RRI_I12_PROVIDER_CONTACT").add_segment("PRD")
    provider.prd_1, provider.prd_2 = "RT^Referred to Provider^HL70286", "MAKEBELIEVE^PRIYA^^^DR"
    provider.prd_7 = f"{decision['clinician']}^SDS^SDSID"
    rri.pid.pid_1, rri.pid.pid_5 = "1", "UNKNOWN^UNKNOWN"
    rri.pid.pid_3 = f"{known['nhsNumber'][0]}^^^NHS^NH"
    for number, (source, words) in enumerate(decision["notes"], 1):
        note = rri.add_segment("NTE")
        note.nte_1, note.nte_2, note.nte_3 = str(number), source, words
    rri.validate()
    host, port = decision["gateway"].rsplit(":", 1)
    with MLLPClient(host, int(port)) as client:
        got = hl7.parse(client.send_message(rri.to_er7()).decode().strip("\x0b\x1c\r"))
    msa = got.segment("MSA")
    say({"answer": str(msa[1]), "to": str(msa[2]), "text": str(got)})


def main():
    handlers = {kind: (Take,) for kind in TAKEN}
    handlers["ERR"] = (Refuse,)
    server = MLLPServer("127.0.0.1", 0, handlers)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    say({"port": server.server_address[1]})
    for line in sys.stdin:
        decide(json.loads(line))


main()
