"""Texts of what is stuck, late or set aside, and of the acts of an operator on it."""

from __future__ import annotations

from gateway.core.explanations.text import Text

_RETRY = "When the cause is mended: `yizhan queue retry --home DIR ID`."
_RETRY_ZH = "排除原因后：`yizhan queue retry --home DIR ID`。"

QUEUES: dict[str, Text] = {
    "set-aside": Text(
        zh="已搁置：本网关程序多次处理失败",
        en="set aside: this gateway's own program failed at it again and again",
        fix=f"`yizhan queue list --home DIR --set-aside` shows the error. {_RETRY}",
        fix_zh=f"`yizhan queue list --home DIR --set-aside` 可查看错误。{_RETRY_ZH}",
    ),
    "queue/peer-says": Text(
        zh="对方网关答复“{problem}”（{said}）",
        en="the other gateway answers {problem} ({said})",
        fix="Ask the operators of the other gateway; where the answer permits it, it is tried again by itself. docs/protocol.md lists the words.",
        fix_zh="请联系对方网关的管理员；若答复允许重试，系统会自动重试。各答复词见 docs/protocol.md。",
    ),
    "queue/machine": Text(
        zh="本机操作系统拒绝了操作（{kind}：{said}）",
        en="this machine refused the operation ({kind}: {said})",
        fix="Look at the disk, its rights and the memory; it is tried again by itself.",
        fix_zh="请检查磁盘、权限和内存；系统会自动重试。",
    ),
    "queue/defect": Text(
        zh="本网关程序处理时出错（{kind}：{said}；{place}）",
        en="this gateway's own program failed at it ({kind}: {said}; {place})",
        fix=f"Report it with the log around this moment and the output of `yizhan doctor`; others go on, and nothing of it is lost. {_RETRY}",
        fix_zh=f"请附上此刻前后的日志和 `yizhan doctor` 的输出报告；其他公文不受影响，本件内容完好。{_RETRY_ZH}",
    ),
    "queue/given-back": Text(
        zh="管理员已将其作为未送达退回办公系统",
        en="an operator gave it back to the office as not delivered",
        fix="Offer it again, under another name, when the way is open.",
        fix_zh="待线路恢复后，请另起名称重新发送。",
    ),
    "queue/ended-early": Text(
        zh="管理员已提前结束等待；若对方之后确认，以对方为准",
        en="an operator ended the wait before its time; what the recipient states later replaces this",
        fix="Ask the recipient whether they have it before sending it again.",
        fix_zh="重新发送前，请先向收件单位核实是否已收到。",
    ),
    "queue/unknown": Text(
        zh="没有编号以 {item} 开头的交换或待办",
        en="there is no exchange and no work whose id begins with {item}",
        fix="`yizhan queue list --home DIR` shows what waits; `yizhan trace --home DIR` lists every exchange.",
        fix_zh="`yizhan queue list --home DIR` 可列出等待项；`yizhan trace --home DIR` 可列出全部交换。",
    ),
    "queue/no-such-recipient": Text(
        zh="{org} 不是交换 {exchange} 的收件单位",
        en="{org} is no recipient of exchange {exchange}",
        fix="`yizhan queue show --home DIR ID` lists the recipients.",
        fix_zh="`yizhan queue show --home DIR ID` 可列出收件单位。",
    ),
    "queue/no-way": Text(
        zh="交换目录中没有通往 {org} 的网关（{said}）",
        en="the directory names no gateway for {org} ({said})",
        fix="Ask the directory authority; when the directory lists one, try again.",
        fix_zh="请联系目录管理机构；目录列出后再重试。",
    ),
    "queue/not-from": Text(
        zh="状态 {state} 不允许“{act}”",
        en="{act} cannot be done from state {state}",
        fix="`yizhan queue show --home DIR ID` says what can be done from there.",
        fix_zh="`yizhan queue show --home DIR ID` 会列出此状态下可做的操作。",
    ),
    "queue/recipient-spoke": Text(
        zh="收件单位已有说明（{event}），以其为准（状态 {state}）",
        en="the recipient has spoken ({event}), and its word stands (state {state})",
        fix="Nothing of the sender's replaces it; to take a document back, a withdrawal is an exchange of its own.",
        fix_zh="发送方不能改变；如需收回，须另行发起撤回。",
    ),
    "queue/nothing-waits": Text(
        zh="没有等待或搁置的工作可以重试",
        en="nothing waits or is set aside that could be tried again",
        fix="What is left is for the other side or for a person of the office.",
        fix_zh="余下的由对方或办公人员处理。",
    ),
    "queue/only-whole": Text(
        zh="尚未封装，各收件单位不能分开处理",
        en="it is not sealed yet: its recipients cannot be treated apart",
        fix="Leave out --to.",
        fix_zh="请去掉 --to。",
    ),
    "queue/not-sent-here": Text(
        zh="这是收到的公文，不是本单位发出的",
        en="this came in; it was not sent from here",
        fix="A received document is returned by its reader: `yizhan return --home DIR ID --reason R`.",
        fix_zh="收到的公文由收文人员退回：`yizhan return --home DIR ID --reason R`。",
    ),
    "queue/gateway-silent": Text(
        zh="该目录的网关在运行，但没有应答：{problem}",
        en="the gateway of this home runs and does not answer: {problem}",
        fix="It may be starting or stopping: try again in a moment; then look at its log.",
        fix_zh="可能正在启动或停止：请稍后再试；仍不行请查看其日志。",
    ),
    "queue/not-yours": Text(
        zh="只有运行网关的账号或 root 可以操作",
        en="only the account the gateway runs under, or root, may do this",
        fix="Run the command as that account (runuser, sudo -u).",
        fix_zh="请以该账号运行命令（runuser、sudo -u）。",
    ),
    "waits/seal": Text(
        zh="已受理，等待签名和时间戳",
        en="taken; waits to be signed and time-stamped",
        fix="Nothing in the first minute; then look at the time authority: `yizhan doctor --home DIR`.",
        fix_zh="一分钟内无需处理；之后请检查时间戳机构：`yizhan doctor --home DIR`。",
    ),
    "waits/approval": Text(
        zh="策略要求人工批准，或判断尚缺条件",
        en="policy wants a person's approval, or something it cannot do without",
        fix="Mend what the reasons name, then `yizhan queue retry --home DIR ID`: policy is asked again.",
        fix_zh="按理由处理后执行 `yizhan queue retry --home DIR ID`：将重新判断。",
    ),
    "waits/on-its-way": Text(
        zh="正在投递",
        en="on its way",
        fix="Nothing: it is tried by itself.",
        fix_zh="无需处理：系统会自动投递。",
    ),
    "waits/office-there": Text(
        zh="对方网关已验证接收，尚未送入其办公系统",
        en="the recipient's gateway has accepted it; its office has not got it yet",
        fix="Ask the operators of the other gateway when it lasts.",
        fix_zh="若持续如此，请联系对方网关的管理员。",
    ),
    "waits/person-there": Text(
        zh="已送达对方办公系统，等待对方签收",
        en="with the recipient's office; waits for a person there",
        fix="Nothing at this gateway: ask the recipient.",
        fix_zh="本网关无需处理：请联系收件单位。",
    ),
    "waits/no-way-back": Text(
        zh="单向线路，无法得到确认",
        en="sent by a way without return path: no answer is to be expected",
        fix="Ask the recipient by another way.",
        fix_zh="请以其他方式向收件单位核实。",
    ),
    "waits/held-here": Text(
        zh="收到的公文待本单位批准；发送方保留内容并定期询问",
        en="arrived and held for a person of ours; the sender keeps the content and asks again",
        fix="The log says why (`yizhan trace --home DIR ID`). Mend that, then ask the sender to give it back and send it again; else it ends with its life.",
        fix_zh="日志中有原因（`yizhan trace --home DIR ID`）。处理后请发送方退回并重新发送；否则期满即止。",
    ),
    "waits/office": Text(
        zh="已接收，等待送入办公系统",
        en="accepted; waits to be put into the office system",
        fix="Nothing in the first minute; then look at the office system.",
        fix_zh="一分钟内无需处理；之后请检查办公系统。",
    ),
    "waits/person-here": Text(
        zh="已送入办公系统，等待签收",
        en="with our office; waits to be signed for",
        fix="Sign for it, or return it with a reason.",
        fix_zh="请签收，或注明理由退回。",
    ),
    "deadline/deliver-soon": Text(
        zh="投递时限临近：应于 {until} 前送达，已用 {percent}%",
        en="the deadline to deliver draws near: due by {until}, {percent} % of the time is over",
        fix="`yizhan queue list --home DIR` says what it waits for.",
        fix_zh="`yizhan queue list --home DIR` 可查看等待原因。",
    ),
    "deadline/deliver-overdue": Text(
        zh="已超过投递时限 {until}，仍未送达；系统继续投递",
        en="not delivered by {until}; it goes on being tried",
        fix="`yizhan queue show --home DIR ID` says why; tell the recipient by another way where it is urgent.",
        fix_zh="`yizhan queue show --home DIR ID` 可查看原因；如紧急，请以其他方式告知收件单位。",
    ),
    "deadline/sign-for-soon": Text(
        zh="签收时限临近：应于 {until} 前签收，已用 {percent}%",
        en="the deadline to sign for it draws near: due by {until}, {percent} % of the time is over",
        fix="Sign for it, or return it with a reason.",
        fix_zh="请签收，或注明理由退回。",
    ),
    "deadline/sign-for-overdue": Text(
        zh="已超过签收时限 {until}",
        en="not signed for by {until}",
        fix="Sign for it, or return it with a reason; when its life ends it counts as not signed for.",
        fix_zh="请签收，或注明理由退回；期满后将视为未签收。",
    ),
}
