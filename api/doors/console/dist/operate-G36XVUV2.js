import{G as e,o as t,t as n}from"./chunk-NIR3VSS4.js";function s({segments:o}){return n(e,{icon:"info",text:t("place.unknown")})}export{s as Operate};
